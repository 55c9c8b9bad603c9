"""Promptable training, as in Kirillov et al. 2023, Sec. 3 and App. A."""
