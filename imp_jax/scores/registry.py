"""The registry of scores: what each is made from, and which way is harder."""

import dataclasses
from typing import Any

from imp_jax.scores import gradients, outputs
from imp_jax.scores.streams import AUM, DUAL, TDDS, Forgetting


@dataclasses.dataclass(frozen=True)
class Definition:
  """What a score's name stands for.

  Attributes:
    made_from: "outputs" (logits at chosen steps), "gradients" (likewise),
      "stream" (logits observed again and again), "checkpoints" (networks at
      chosen steps, together), "children" (the paths between them), "inputs" or
      "nothing" (no network).
    larger_is_harder: the direction.
    version: bumped by hand when the formula changes.
    fn: of outputs, for one example: (logits, label); of gradients and
      checkpoints, for a batch: (params, batch_stats, x, labels, model); of
      streams, (window, never_learned) -> rule; else None.
  """

  made_from: str
  larger_is_harder: bool
  version: int = 1
  fn: Any = None

  @property
  def needs_network(self) -> bool:
    return self.made_from not in ("inputs", "nothing")


SCORES: dict[str, Definition] = {
  "el2n": Definition("outputs", True, fn=outputs.el2n),
  "grand": Definition("gradients", True, fn=gradients.grand),
  "grand_last_layer": Definition(
    "gradients", True, fn=gradients.grand_last_layer
  ),
  "loss": Definition("outputs", True, fn=outputs.loss),
  "margin": Definition("outputs", False, fn=outputs.margin),
  "entropy": Definition("outputs", True, fn=outputs.entropy),
  "confidence": Definition("outputs", False, fn=outputs.confidence),
  "forgetting": Definition("stream", True, fn=lambda _, rule: Forgetting(rule)),
  "aum": Definition("stream", False, fn=lambda *_: AUM()),
  "tdds": Definition("stream", True, fn=lambda window, _: TDDS(window)),
  "dual": Definition("stream", True, fn=lambda window, _: DUAL(window)),
  "vog": Definition("checkpoints", True, fn=gradients.gradient_variance),
  "barrier": Definition("children", True),  # midpoint, of the loss in nats
  "input_norm": Definition("inputs", True),  # ranks like GraNd at step 0
  "random": Definition("nothing", True),
}

# The scores for which the statistics of the scored batch may be asked for, as
# the paper's notebook computed EL2N.
BATCH_MODE = ("el2n",)
