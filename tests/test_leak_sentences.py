"""The page says where rotations were told from images that should have no direction."""

from pipelines.findings import leak_sentences


def records(*accuracies: float | None, images: int = 500) -> list[dict[str, float]]:
    told = [{} if value is None else {"accuracy_unseen": value} for value in accuracies]
    return [{**part, "images": images * number} for number, part in enumerate(told, start=1)]


def test_the_last_accuracy_of_unseen_images_counts() -> None:
    (sentence,) = leak_sentences(records(0.25, 0.6), 50, 500)
    assert "accuracy of 0.60" in sentence
    assert "50 images" in sentence
    assert leak_sentences(records(0.6, 0.25), 50, 500) == []
    assert leak_sentences(records(0.6, None), 50, 500)  # an epoch without an unseen image says nothing


def test_a_part_of_an_epoch_has_asked_of_fewer() -> None:
    assert leak_sentences([{"accuracy_unseen": 0.6, "images": 50}], 50, 500) == []


def test_other_methods_say_nothing() -> None:
    assert leak_sentences(records(None), 50, 500) == []
    assert leak_sentences([], 50, 500) == []
