"""The command line ``napari-sam``: one file per command, wired by `main`; knows no viewer."""
