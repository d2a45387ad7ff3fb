"""The figure and the page of a comparison on a model of one's own."""

import re
import types

import numpy as np
import pytest

from keras_dropx.experiments import Comparison
from keras_dropx.experiments.plan import Contrast, Method

NAMES = ("none", "dropout", "forward", "augmented", "<mine>")
CALL = "dropx compare \\\n  --model net.keras"


def comparison_of(loss="train_loss"):
    plan = types.SimpleNamespace(
        name="comparison",
        claim="Which dropout helps this model on this data?",
        methods=[*map(Method, NAMES), Method("remasked", mask_offset=1)],
        contrasts=[
            Contrast("test_accuracy", name, "none", 0.5) for name in NAMES[1:]
        ],
        floor=Contrast("test_accuracy", "remasked", "dropout", 0.5),
        directions={"test_accuracy": "max", "reestimated_accuracy": "max"},
    )
    rng = np.random.default_rng(0)
    records = [
        {
            "method": name,
            "seed": seed,
            "epochs": 4,
            "train_size": 1200,
            "test_accuracy": 0.8 + 0.01 * k + 0.01 * rng.random(),
            "train_loss": [1.0] * (2 + seed),  # Stopped early, some of them.
            loss: [1.0 + k] * (2 + seed),
            "step_ms": 1.0,
            "versions": {"keras": "3"},
            "backend": "tensorflow",
            "precision": "float32",
        }
        for seed in range(3)
        for k, name in enumerate((*NAMES, "remasked"))
    ]
    return Comparison(plan, "accuracy", "max", 0.005, 1, CALL, records)


@pytest.mark.parametrize(
    "loss, named", [("train_loss", "training"), ("val_loss", "validation")]
)
def test_figure_has_differences_methods_and_curves(loss, named):
    drawn = comparison_of(loss).figure()
    above, below = drawn.subfigs
    assert drawn.get_suptitle() == (
        "Which dropout helps this model on this data? (1,200 training "
        "examples, 4 epochs; 3 seeds)"
    )
    left, right = above.axes
    labels = [text.get_text() for text in left.get_yticklabels()]
    assert labels == [
        *("dropout - no dropout", "forward - no dropout"),
        *("augmented - no dropout", "<mine> - no dropout"),
    ]
    assert left.get_xlabel().endswith("accuracy, % (higher is better)")
    # The floor, a band; a line at 0; a dot a seed, an interval, a mean each.
    assert len(left.patches) == 1
    assert left.lines[0].get_xdata() == [0, 0]
    assert [len(line.get_xdata()) for line in left.lines[1:4]] == [3, 2, 1]
    assert len(left.lines) == 1 + 3 * 4
    assert "no dropout" in [t.get_text() for t in right.get_xticklabels()]
    curves = [ax for ax in below.axes if ax.axison]
    assert [ax.get_title() for ax in curves] == ["no dropout", *NAMES[1:]]
    for place, ax in enumerate(curves):
        # Those of the method lie above all others.
        own = ax.lines[-3:]
        assert {line.get_color() for line in own} == {"black"}
        assert [len(line.get_xdata()) for line in own] == [2, 3, 4]
        level = 1.0 + place
        assert all((np.array(line.get_ydata()) == level).all() for line in own)
    assert named in below.get_supylabel()


def test_page_holds_all_it_shows(tmp_path):
    comparison = comparison_of()
    comparison.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert re.findall('(?:src|href)="([^"]{9})', page) == ["data:imag"]
    for text in (
        "<h1>Does it help?</h1>",
        "<h2>Held equal</h2>",
        "the order of the batches",
        "<h2>Repeat it</h2>",
        f"<pre><code>{CALL}\n</code></pre>",
        "Seeds: 0, 1, 2.",
        "keras 3; backend tensorflow; precision float32.",
        "&lt;mine&gt; - no dropout",
        "Noise floor: dropout under other masks",
    ):
        assert text in page, text
    assert page.count("<table>") == 2 and "<mine>" not in page
    comparison.report(tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "![Paired differences](page.png)" in text and "<mine>" not in text
