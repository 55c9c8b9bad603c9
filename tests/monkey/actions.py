"""What a monkey can do: everything that a user can, each from a number alone, so that it can be repeated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Labels, Points, Shapes
from watching import camera_of

from napari_sam.errors import SamError
from napari_sam.viewer.tools import TOOLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from world import World

    Rng = np.random.Generator

__all__ = ["ACTIONS", "Action"]

Effect = Literal["none", "prompts", "accept", "target", "layer", "any"]


@dataclass(frozen=True)
class Action:
    """Something that a user does.

    Attributes
    ----------
    name : str
    do : callable
        Does it, given world and random numbers.
    effect : str
        What it may change: no label ("none"), no label unless in rapid mode ("prompts"), free pixels and the
        accepted object ("accept"), one layer ("layer"), or anything ("any").
    weight : float
        How often, relative to others.
    pure : bool
        Whether all of it is taken back by undo, so that it may occur while that is watched.
    """

    name: str
    do: Callable[[World, Rng], None]
    effect: Effect
    weight: float = 1.0
    pure: bool = False


ACTIONS: dict[str, Action] = {}


def action(effect: Effect, weight: float = 1.0, pure: bool = False) -> Callable[..., Any]:
    def register(do: Callable[[World, Rng], None]) -> Callable[[World, Rng], None]:
        name = do.__name__.strip("_")
        ACTIONS[name] = Action(name, do, effect, weight, pure)
        return do

    return register


def some(rng: Rng, things: Any) -> Any:
    things = list(things)
    return things[int(rng.integers(len(things)))] if things else None


def place(world: World, rng: Rng) -> tuple[float, float]:
    """A place in the plane, more often on an object than not."""
    spots = [(15, 15), (40, 20), (20, 50), (48, 55)]
    if rng.random() < 0.7:
        row, col = some(rng, spots)
        return row + rng.normal(0, 3), col + rng.normal(0, 3)
    return rng.uniform(-3, 68), rng.uniform(-3, 76)


def whole(world: World, position: tuple[float, float]) -> np.ndarray:
    """The place in data coordinates of the image's axes, on the plane that is shown."""
    plane = world.session.plane
    inside = iter(position)
    return np.array([next(inside) if i is None else i for i in plane.index], float)


def fit(position: np.ndarray, layer: Any) -> np.ndarray:
    """The position with as many numbers as a layer has axes."""
    return np.concatenate([np.zeros(max(layer.ndim - len(position), 0)), position])[-layer.ndim :]


def prompt_layers(world: World) -> tuple[Any, Any]:
    prompts = world.controller.prompts
    return prompts.points, prompts.shapes


# ---------------------------------------------------------------- prompts
@action("prompts", 6, pure=True)
def click(world: World, rng: Rng) -> None:
    points, _ = prompt_layers(world)
    if points is not None and world.session.plane is not None and points in world.viewer.layers:
        points.add(fit(whole(world, place(world, rng)), points))


@action("prompts", 2, pure=True)
def correct(world: World, rng: Rng) -> None:
    world.widget.toggle_label()
    click(world, rng)
    world.widget.toggle_label()


@action("prompts", 1, pure=True)
def move_point(world: World, rng: Rng) -> None:
    points, _ = prompt_layers(world)
    if points is not None and len(points.data) and points in world.viewer.layers:
        data = np.array(points.data)
        data[int(rng.integers(len(data)))][-2:] += rng.normal(0, 4, 2)
        points.data = data


@action("prompts", 1, pure=True)
def delete_point(world: World, rng: Rng) -> None:
    points, _ = prompt_layers(world)
    if points is not None and len(points.data) and points in world.viewer.layers:
        points.selected_data = {int(rng.integers(len(points.data)))}
        points.remove_selected()


@action("prompts", 3, pure=True)
def draw_shape(world: World, rng: Rng) -> None:
    _, shapes = prompt_layers(world)
    if shapes is None or world.session.plane is None or shapes not in world.viewer.layers:
        return
    kind = some(rng, ["rectangle", "ellipse", "polygon", "path", "line"])
    row, col = place(world, rng)
    height, width = rng.uniform(2, 15, 2)
    corners = [(row, col), (row, col + width), (row + height, col + width), (row + height, col)]
    if kind == "line":
        corners = corners[::2]
    shapes.add([fit(whole(world, corner), shapes) for corner in corners], shape_type=kind)


@action("prompts", 1, pure=True)
def delete_shape(world: World, rng: Rng) -> None:
    _, shapes = prompt_layers(world)
    if shapes is not None and len(shapes.data) and shapes in world.viewer.layers:
        shapes.selected_data = {int(rng.integers(len(shapes.data)))}
        shapes.remove_selected()


@action("none", 1, pure=True)
def clear(world: World, rng: Rng) -> None:
    world.widget.clear()


@action("none", 2)
def tool(world: World, rng: Rng) -> None:
    world.controller.tools.choose(some(rng, TOOLS))


@action("prompts", 1)
def hover(world: World, rng: Rng) -> None:
    plane, image = world.session.plane, world.controller.image_layer
    if plane is not None and image is not None:
        world.viewer.cursor.position = tuple(image.data_to_world(whole(world, place(world, rng))))


# ---------------------------------------------------------------- keys
def press(name: str) -> Callable[[World, Rng], None]:
    def do(world: World, rng: Rng) -> None:
        hover(world, rng)
        world.widget._bindings._run(name)

    do.__name__ = f"key_{name}"
    return do


for _name, _effect, _weight, _pure in (
    ("toggle_label", "none", 1, True),
    ("accept", "accept", 8, True),
    ("undo", "any", 4, True),
    ("redo", "any", 3, True),
    ("next_mask", "none", 1, True),
    ("previous_mask", "none", 1, True),
    ("refine", "none", 2, True),
    ("rapid", "none", 0.5, False),
    ("hover", "none", 0.5, True),
    ("edit_delete", "layer", 1, True),
    ("edit_merge", "none", 0.5, False),
    ("edit_split", "none", 0.5, False),
    ("edit_fill", "layer", 1, True),
    ("propagate", "any", 1, True),
    ("stop_here", "any", 0.5, False),
    ("flag_next", "none", 0.5, True),
    ("flag_previous", "none", 0.5, True),
    ("review_next", "none", 1, True),
    ("review_previous", "none", 0.5, True),
    ("review_accept", "none", 1, True),
    ("review_refine", "none", 0.5, True),
    ("review_delete", "layer", 0.7, True),
):
    action(_effect, _weight, _pure)(press(_name))


@action("layer", 1.5)
def edit_click(world: World, rng: Rng) -> None:
    """Take up an edit tool, or click with it."""
    editor = world.widget._edit.editor
    if rng.random() < 0.4:
        editor.take(some(rng, ["pick", "delete", "merge", "split", ""]))
        return
    hover(world, rng)
    editor.click(world.viewer.cursor.position)


@action("layer", 1)
def lasso(world: World, rng: Rng) -> None:
    """Draw a lasso, and do something with what is in it."""
    review = world.widget._review
    review.draw_lasso()
    layer, plane = world.viewer.layers.selection.active, world.session.plane
    if isinstance(layer, Shapes) and plane is not None and layer.ndim == len(plane.index):
        row, col = place(world, rng)
        corners = [(row - 12, col - 12), (row - 12, col + 12), (row + 12, col + 12), (row + 12, col - 12)]
        layer.add([whole(world, corner) for corner in corners], shape_type="polygon")
    getattr(review, some(rng, ["delete_inside", "merge_inside", "accept_inside"]))()


@action("any", 1)
def propagate_some(world: World, rng: Rng) -> None:
    try:
        world.widget.propagate(some(rng, ["auto", "prompts", "all", int(rng.integers(1, 6))]))
    except (SamError, ValueError):
        return
    if rng.random() < 0.3:
        world.breathe(0.02)
        world.widget.cancel()


@action("any", 0.5)
def correct_propagation(world: World, rng: Rng) -> None:
    world.widget.correct_propagation()


@action("prompts", 0.5)
def other_prompt_layer(world: World, rng: Rng) -> None:
    """Prompts from a layer of the user's, or from ours again."""
    mine = [x for x in world.viewer.layers if isinstance(x, Points) and not world.controller.owns(x)]
    world.controller.use_points(some(rng, [None, *mine]))


@action("none", 0.5)
def export(world: World, rng: Rng) -> None:
    layer = some(rng, [layer for layer in world.labels if not layer.multiscale])
    exporter = world.widget._export.exporter
    if layer is not None:
        path = world.folder / f"export-{rng.integers(4)}"
        exporter.export(layer, some(rng, ["geojson", "csv", "tiff"]), path)


# ---------------------------------------------------------------- objects
@action("any", 2, pure=True)
def accept_at_once(world: World, rng: Rng) -> None:
    """Accept before the answer is there."""
    click(world, rng)
    world.widget.accept()


@action("none", 1, pure=True)
def accepting_rule(world: World, rng: Rng) -> None:
    accepting = world.session.prompting.accepting
    accepting.rule = replace(
        accepting.rule,
        ids=some(rng, ["next", "next", "same", "chosen", "class"]),
        keep=some(rng, ["pixels", "pixels", "objects", "overwrite"]),
        label=int(rng.integers(1, 20)),
    )


@action("layer", 2, pure=True)
def edit_object(world: World, rng: Rng) -> None:
    editor = world.widget._edit.editor
    layer = editor.layer
    if layer is None or layer.multiscale:
        return
    here = np.unique(np.asarray(layer.data))
    here = here[here > 0]
    if here.size:
        layer.selected_label = int(some(rng, here))
    name = some(rng, ["delete", "fill_holes", "smooth", "keep_largest", "remove_small", "merge", "split"])
    if name == "remove_small":
        editor.remove_small(int(rng.integers(1, 60)))
    elif name == "merge":
        editor.merge([int(some(rng, here)) for _ in range(2)] if here.size else [1, 2])
    elif name == "split":
        editor.split(int(some(rng, here)) if here.size else 1, (place(world, rng), place(world, rng)))
    else:
        getattr(editor, name)()


@action("any", 1.5, pure=True)
def segment_everything(world: World, rng: Rng) -> None:
    world.widget.segment_everything()
    if rng.random() < 0.5:
        world.breathe(0.02)


@action("any", 0.3)
def segment_stack(world: World, rng: Rng) -> None:
    if world.real or hasattr(world.widget._session._models._engine, "iter_segment_stack"):
        world.widget.segment_stack(some(rng, "zt"))


@action("any", 1)
def thresholds(world: World, rng: Rng) -> None:
    world.session.auto.set_params(
        {some(rng, ["predicted_iou", "stability", "nms_iou"]): float(rng.uniform(0, 1))},
        settle=rng.random() < 0.7,
    )


@action("none", 0.5, pure=True)
def fill_gaps(world: World, rng: Rng) -> None:
    world.widget.fill_gaps = rng.random() < 0.5


@action("none", 0.5, pure=True)
def region(world: World, rng: Rng) -> None:
    try:
        world.widget.region = some(rng, [None, "visible", *world.controller.regions()])
    except SamError:
        return


@action("none", 1.5)
def cancel(world: World, rng: Rng) -> None:
    world.widget.cancel()


# ---------------------------------------------------------------- napari's own tools
@action("layer", 2)
def brush(world: World, rng: Rng) -> None:
    layer, plane = some(rng, world.labels), world.session.plane
    if layer is None or plane is None or layer.multiscale or layer.ndim != len(plane.index):
        return
    layer.selected_label = int(rng.integers(0, 12))
    layer.brush_size = int(rng.integers(1, 8))
    position = [
        min(max(v, 0), n - 1) for v, n in zip(whole(world, place(world, rng)), layer.data.shape, strict=True)
    ]
    layer.paint(position, layer.selected_label)


@action("layer", 0.7)
def bucket(world: World, rng: Rng) -> None:
    layer, plane = some(rng, world.labels), world.session.plane
    if layer is None or plane is None or layer.multiscale or layer.ndim != len(plane.index):
        return
    position = [
        min(max(v, 0), n - 1) for v, n in zip(whole(world, place(world, rng)), layer.data.shape, strict=True)
    ]
    layer.fill(tuple(int(v) for v in position), int(rng.integers(0, 12)))


@action("layer", 2)
def native_undo(world: World, rng: Rng) -> None:
    layer = some(rng, world.labels)
    if layer is not None:
        (layer.undo if rng.random() < 0.6 else layer.redo)()


# ---------------------------------------------------------------- view
@action("none", 4, pure=True)
def slice_change(world: World, rng: Rng) -> None:
    dims = world.viewer.dims
    if dims.ndim > 2:
        axis = int(rng.integers(dims.ndim))
        dims.set_current_step(axis, int(rng.integers(max(dims.nsteps[axis], 1))))


@action("none", 0.4)
def show_3d(world: World, rng: Rng) -> None:
    world.viewer.dims.ndisplay = 3
    world.breathe(0.02)
    world.viewer.dims.ndisplay = 2


@action("none", 0.4)
def roll_axes(world: World, rng: Rng) -> None:
    world.viewer.dims.roll() if rng.random() < 0.5 else world.viewer.dims.transpose()


@action("none", 0.5, pure=True)
def zoom(world: World, rng: Rng) -> None:
    camera_of(world.viewer).zoom = float(rng.uniform(0.5, 20))
    camera_of(world.viewer).center = tuple(rng.uniform(0, 60, 3))


# ---------------------------------------------------------------- layers
@action("none", 1, pure=True)
def select_layer(world: World, rng: Rng) -> None:
    world.viewer.layers.selection.active = some(rng, world.viewer.layers)


@action("none", 1, pure=True)
def rename_layer(world: World, rng: Rng) -> None:
    layer = some(rng, world.viewer.layers)
    if layer is not None:
        layer.name = some(rng, ["cells", "SAM points", "SAM objects", "x" * 60, "", "ä\n<b>"])


@action("none", 1, pure=True)
def reorder_layers(world: World, rng: Rng) -> None:
    count = len(world.viewer.layers)
    if count > 1:
        world.viewer.layers.move(int(rng.integers(count)), int(rng.integers(count)))


@action("none", 0.5)
def hide_layer(world: World, rng: Rng) -> None:
    layer = some(rng, world.viewer.layers)
    if layer is not None:
        layer.visible = not layer.visible


@action("none", 0.7)
def layer_mode(world: World, rng: Rng) -> None:
    layer = some(rng, world.viewer.layers)
    if layer is not None:
        names = [str(mode.value) for mode in type(layer._mode)] if hasattr(layer, "_mode") else ["pan_zoom"]
        names = [name for name in names if name not in ("transform",)]
        layer.mode = some(rng, names)


@action("none", 0.4)
def transform_layer(world: World, rng: Rng) -> None:
    layer = some(rng, world.viewer.layers)
    if layer is not None:
        layer.translate = rng.integers(-5, 5, layer.ndim)


@action("none", 0.7)
def add_layer(world: World, rng: Rng) -> None:
    if len(world.viewer.layers) > 14:
        return
    kind = some(rng, ["image", "points", "shapes", "labels", "labels"])
    image = world.controller.image_layer
    if kind == "image":
        world.add_image(some(rng, ["plane", "stack", "colours"]))
    elif kind == "points":
        world.viewer.add_points(np.zeros((0, 2)))
    elif kind == "shapes":
        world.viewer.add_shapes(ndim=2)
    elif image is not None:
        data = np.zeros(image.data.shape[: image.ndim], some(rng, [np.int32, np.uint8, np.uint16, np.int64]))
        data[..., 30:34, 30:34] = 3
        world.viewer.add_labels(data, scale=image.scale)


@action("any", 0.6)
def delete_layer(world: World, rng: Rng) -> None:
    layer = some(rng, world.viewer.layers)
    if layer is not None:
        world.viewer.layers.remove(layer)


@action("any", 0.3)
def duplicate_layer(world: World, rng: Rng) -> None:
    layer = some(rng, world.labels)
    if layer is not None and len(world.viewer.layers) < 14 and not layer.multiscale:
        data, state, kind = layer.as_layer_data_tuple()
        world.viewer.add_layer(type(layer).create(np.array(data), {**state, "name": "copy"}, kind))


@action("none", 0.8)
def switch_image(world: World, rng: Rng) -> None:
    world.widget.image_layer = some(rng, [*world.controller.images(), *world.controller.images(), None])


@action("none", 1)
def switch_target(world: World, rng: Rng) -> None:
    world.widget.target_layer = some(rng, [*world.labels, None])


@action("any", 0.3)
def replace_pixels(world: World, rng: Rng) -> None:
    image = some(rng, [layer for layer in world.controller.images() if not layer.multiscale])
    if image is not None:
        image.data = np.ascontiguousarray(np.flip(image.data, axis=-1 if not image.rgb else -2))


@action("any", 0.2)
def script_writes(world: World, rng: Rng) -> None:
    layer = some(rng, [layer for layer in world.labels if not layer.multiscale])
    if layer is not None:
        layer.data[..., 5:9, 5:9] = int(rng.integers(0, 9))
        layer.refresh()


# ---------------------------------------------------------------- settings
@action("none", 0.7)
def settings(world: World, rng: Rng) -> None:
    session = world.session
    changes = some(
        rng,
        [
            {"percentiles": (float(rng.uniform(0, 5)), float(rng.uniform(95, 100)))},
            {"object_size": some(rng, [None, 12.0, 30.0])},
            {"warm": rng.random() < 0.5},
            {"scope": some(rng, ["plane", "stack"])},
            {"autosave": rng.random() < 0.8},
            {"rough_use": some(rng, ["mask", "box", "both"])},
        ],
    )
    session.set_settings(replace(session.settings, **changes))


@action("none", 0.4)
def model(world: World, rng: Rng) -> None:
    world.widget.model_name = "nuclei" if world.real else some(rng, ["nuclei", "nuclei", "vit_t", "broken"])


@action("none", 0.4)
def fold_sections(world: World, rng: Rng) -> None:
    from napari_sam.widgets.section import Section

    section = some(rng, world.widget.findChildren(Section))
    if section is not None:
        section.open(not section.is_open)


# ---------------------------------------------------------------- files
@action("none", 0.5)
def save(world: World, rng: Rng) -> None:
    layer = some(rng, [layer for layer in world.labels if isinstance(layer, Labels) and not layer.multiscale])
    if layer is not None:
        world.widget._recovery.records.save(layer, world.folder / f"labels-{rng.integers(4)}.tif")


@action("none", 0.4)
def autosave(world: World, rng: Rng) -> None:
    world.widget._recovery.autosave.save()


@action("any", 0.3)
def open_labels(world: World, rng: Rng) -> None:
    path = some(rng, sorted(world.folder.glob("labels-*.tif")))
    if path is not None and len(world.viewer.layers) < 14:
        try:
            world.viewer.open(path, plugin="napari", layer_type="labels")
        except ValueError as error:  # without a window, napari's own reader may not be known yet
            if "does not exist" not in str(error):
                raise


@action("any", 0.3)
def reopen_widget(world: World, rng: Rng) -> None:
    world.close_widget()
    if rng.random() < 0.5:
        world.breathe(0.05)
    world.open_widget()


@action("any", 0.5)
def answer_offer(world: World, rng: Rng) -> None:
    getattr(world.widget._recovery, some(rng, ["restore", "discard", "later"]))()


@action("any", 2)
def nothing(world: World, rng: Rng) -> None:
    world.breathe(float(rng.uniform(0, 0.03)))
