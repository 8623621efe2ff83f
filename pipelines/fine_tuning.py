"""Fine-tuning as a contender of the few-label table: dear, so it takes part in few draws."""

from typing import final

import numpy as np
from jaxtyping import Int64

from domainssl.evaluation.constant_answers import constant_answer
from domainssl.evaluation.contenders import Answer
from domainssl.evaluation.losses import raw_outputs, without_absent
from domainssl.evaluation.question import Question
from domainssl.evaluation.task import TASKS
from domainssl.heads.fine_tuning import fine_tune
from domainssl.options import FineTuneOptions
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from pipelines.starts import compared_encoder, timed_precision
from pipelines.steps import Context


@final
class FineTuning:
    """Fine-tunes one start on a draw of labels, augmented by the domain's views, and predicts the scored rows.

    `rows` are the question's rows of the store.
    """

    def __init__(
        self, context: Context, objects: Objects, question: Question, rows: Int64[np.ndarray, " n"], start: str
    ) -> None:
        self._context, self._objects, self._question, self._rows = context, objects, question, rows
        self._encoder = compared_encoder(context, objects, start)
        recipe, store = context.recipe, objects.store
        self._policy = DOMAINS[recipe.domain].views(
            store.radiometry, store.bands, recipe.encoder.size, sided=recipe.sided, survey=recipe.survey
        )

    def __call__(self, rows: Int64[np.ndarray, " m"], rng: np.random.Generator) -> Answer:
        question, context, store = self._question, self._context, self._objects.store
        kind, outputs, y = question.kind, len(question.outputs), question.y[rows]
        constant, scored = constant_answer(kind, y, outputs), self._rows[question.halves()[1]]
        if constant is not None:
            return Answer(np.tile(constant, (len(scored), 1)))
        task, precision = TASKS[kind], timed_precision(context, self._encoder)
        mean, scale = (float(y.mean()), float(y.std()) or 1.0) if kind == "real" else (0.0, 1.0)
        tuned = fine_tune(
            self._encoder,
            store,
            self._rows[rows],
            (y - mean) / scale,
            task.loss,
            raw_outputs(kind, outputs),
            policy=self._policy,
            groups=question.groups[rows],
            options=FineTuneOptions(),
            precision=precision,
            seed=int(rng.integers(2**31)),
            device=context.device,
        )
        raw = tuned.predict(store, scored, precision=precision, device=context.device)
        predictions = task.predictions(raw) * scale + mean
        if question.by_class:
            predictions = without_absent(predictions, np.isin(np.arange(outputs), y[:, 0]))
        return Answer(predictions)
