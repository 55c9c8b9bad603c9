from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.evaluation.clicks import ClickScores, evaluate_clicks, pool_clicks
from napari_sam.types import ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

IMAGE = np.zeros((40, 60), np.uint8)


def run(job: Generator[Progress, None, ClickScores]) -> ClickScores:
    steps = []
    while True:
        try:
            steps.append(next(job))
        except StopIteration as stop:
            assert all(0 < step.done <= step.total for step in steps)
            assert [s.done for s in steps] == sorted(s.done for s in steps)
            return stop.value


class Staircase:
    """Knows objects of 10 x 10; after n clicks it answers with their first ``columns[n - 1]`` columns."""

    def __init__(
        self, origins: Sequence[tuple[int, int]], columns: Sequence[int], box_columns: int = 9
    ) -> None:
        self.origins, self.columns, self.box_columns = origins, columns, box_columns
        self.rounds: list[list[Prompts]] = []

    def answer(self, prompts: Prompts) -> ObjectMask:
        where = prompts.points[0] if len(prompts.points) else np.array(prompts.box[:2]) + 1  # type: ignore[index]
        origin = next(o for o in self.origins if 0 <= where[0] - o[0] < 10 and 0 <= where[1] - o[1] < 10)
        if not len(prompts.points):
            width = self.box_columns
        else:
            width = self.columns[min(len(prompts.points), len(self.columns)) - 1]
        return ObjectMask(np.ones((10, width), bool), origin, predicted_iou=0.7)

    def predict_many(self, image: Any, prompts: Sequence[Prompts]) -> list[ObjectMask]:
        assert image is IMAGE
        self.rounds.append(list(prompts))
        return [self.answer(p) for p in prompts]

    def predict_candidates(self, image: Any, prompts: Prompts) -> list[ObjectMask]:
        answer = self.answer(prompts)
        widths = [10, 2, 6, 4]  # the first is the mask of a clear prompt, not one of the three
        return [replace(answer, mask=np.ones((10, w), bool)) for w in widths]


def label_image(*origins: tuple[int, int]) -> np.ndarray:
    labels = np.zeros(IMAGE.shape, np.uint16)
    for i, (r, c) in enumerate(origins, start=1):
        labels[r : r + 10, c : c + 10] = i
    return labels


def test_scores_by_hand() -> None:
    predictor = Staircase([(5, 5)], columns=[5, 6, 7, 8, 9, 9, 9, 10])
    scores = run(evaluate_clicks(IMAGE, label_image((5, 5)), predictor))
    assert scores.miou == pytest.approx({1: 0.5, 2: 0.6, 4: 0.8, 8: 1.0})
    assert scores.noc == {0.85: 5, 0.9: 5}
    assert scores.box_miou == pytest.approx(0.9)
    assert scores.anywhere_miou == pytest.approx(0.5)
    assert scores.best_miou == pytest.approx(0.6)
    assert scores.iou_mae == pytest.approx(0.2)  # predicted 0.7, true 0.5
    assert scores.areas.tolist() == [100]


def test_unreached_targets_count_as_the_cap() -> None:
    predictor = Staircase([(5, 5)], columns=[3, 4, 5, 6, 7, 8, 8, 8, 8, 9])
    scores = run(evaluate_clicks(IMAGE, label_image((5, 5)), predictor, targets=(0.85, 0.95), max_clicks=12))
    assert scores.noc == {0.85: 10, 0.95: 12}
    assert len(predictor.rounds) == 1 + 12  # the boxes with the clicks anywhere, and every click


def test_first_time_counts_though_a_later_answer_is_worse() -> None:
    predictor = Staircase([(5, 5)], columns=[5, 9, 4, 4])
    scores = run(evaluate_clicks(IMAGE, label_image((5, 5)), predictor))
    assert scores.noc == {0.85: 2, 0.9: 2}
    assert scores.miou == pytest.approx({1: 0.5, 2: 0.9, 4: 0.4, 8: 0.4})


def test_clicks_answers_and_rounds_are_fed_as_the_protocol_says() -> None:
    predictor = Staircase([(5, 5), (20, 40)], columns=[6, 10])
    run(evaluate_clicks(IMAGE, label_image((5, 5), (20, 40)), predictor, counts=(1, 2)))
    alone, first, second = predictor.rounds
    assert [p.box for p in alone[:2]] == [(4.5, 4.5, 14.5, 14.5), (19.5, 39.5, 29.5, 49.5)]
    anywhere = [p.points.tolist()[0] for p in alone[2:]]
    assert [p.labels.tolist() for p in alone[2:]] == [[1], [1]]
    inside = label_image((5, 5), (20, 40))
    assert [inside[int(row), int(col)] for row, col in anywhere] == [1, 2]
    assert [p.points.tolist() for p in first] == [[[9, 9]], [[24, 44]]]
    assert all(p.mask is None for p in first)
    # Missed are columns 6..9 of the object, 10 x 4: the first of the deepest pixels is (1, 1) into it.
    assert [p.points.tolist()[1] for p in second] == [[6, 12], [21, 47]]
    assert [p.labels.tolist() for p in second] == [[1, 1], [1, 1]]
    assert [p.mask.area for p in second if p.mask is not None] == [60, 60]


def test_a_click_anywhere_is_the_same_in_every_run() -> None:
    class Near(Staircase):
        """Answers with the columns up to the click."""

        def answer(self, prompts: Prompts) -> ObjectMask:
            answer = super().answer(prompts)
            if not len(prompts.points):
                return answer
            width = int(prompts.points[0, 1]) - answer.origin[1] + 1
            return replace(answer, mask=np.ones((10, width), bool))

    origins = [(5, 5), (5, 20), (5, 35), (20, 40)]
    first, second = (
        run(evaluate_clicks(IMAGE, label_image(*origins), Near(origins, [1]))).anywhere_iou for _ in range(2)
    )
    assert first.tolist() == second.tolist()
    assert len(set(first.tolist())) > 1


def test_an_exact_object_is_asked_no_more() -> None:
    class ExactForTheFirst(Staircase):
        def answer(self, prompts: Prompts) -> ObjectMask:
            answer = super().answer(prompts)
            return replace(answer, mask=np.ones((10, 10), bool)) if answer.origin == (5, 5) else answer

    predictor = ExactForTheFirst([(5, 5), (20, 40)], columns=[5])
    scores = run(evaluate_clicks(IMAGE, label_image((5, 5), (20, 40)), predictor, max_clicks=8))
    assert [len(prompts) for prompts in predictor.rounds] == [4, 2, 1, 1, 1, 1, 1, 1, 1]
    assert scores.iou[:, -1].tolist() == [1.0, 0.5]
    assert scores.clicks_to.tolist() == [[1, 1], [8, 8]]


def test_a_background_click_corrects_too_large_an_answer() -> None:
    predictor = Staircase([(5, 5)], columns=[20])
    run(evaluate_clicks(IMAGE, label_image((5, 5)), predictor, counts=(1, 2), max_clicks=2))
    assert predictor.rounds[2][0].labels.tolist() == [1, 0]


def test_empty_answers_and_no_candidates() -> None:
    class Nothing(Staircase):
        def answer(self, prompts: Prompts) -> ObjectMask:
            return ObjectMask(np.zeros((0, 0), bool), (0, 0), predicted_iou=0.25)

        def predict_candidates(self, image: Any, prompts: Prompts) -> list[ObjectMask]:
            return []

    scores = run(evaluate_clicks(IMAGE, label_image((5, 5)), Nothing([], [])))
    assert scores.miou == {1: 0, 2: 0, 4: 0, 8: 0}
    assert scores.noc == {0.85: 20, 0.9: 20}
    assert (scores.best_miou, scores.iou_mae) == (0, 0.25)


def test_an_image_without_objects() -> None:
    scores = run(evaluate_clicks(IMAGE, np.zeros(IMAGE.shape, int), Staircase([], [])))
    assert scores.n_objects == 0
    assert np.isnan(scores.miou[1])


def test_pooled_objects_weigh_the_same() -> None:
    one = run(evaluate_clicks(IMAGE, label_image((5, 5)), Staircase([(5, 5)], [10])))
    two = run(evaluate_clicks(IMAGE, label_image((5, 5), (20, 40)), Staircase([(5, 5), (20, 40)], [4])))
    none = run(evaluate_clicks(IMAGE, label_image(), Staircase([], [])))
    pooled = pool_clicks([one, two, none])
    assert pooled.n_objects == 3
    assert pooled.miou[1] == pytest.approx((1 + 0.4 + 0.4) / 3)
    assert pooled.noc[0.85] == pytest.approx((1 + 20 + 20) / 3)


def test_different_protocols_do_not_pool() -> None:
    one = run(evaluate_clicks(IMAGE, label_image(), Staircase([], [])))
    two = run(evaluate_clicks(IMAGE, label_image(), Staircase([], []), max_clicks=8))
    with pytest.raises(ValueError, match="one setting"):
        pool_clicks([one, two])


@pytest.mark.parametrize(
    "options",
    [{"counts": ()}, {"counts": (0, 1)}, {"counts": (1, 8), "max_clicks": 4}],
    ids=["no counts", "zero clicks", "cap below counts"],
)
def test_senseless_counts_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="click counts"):
        run(evaluate_clicks(IMAGE, label_image(), Staircase([], []), **options))
