from __future__ import annotations

from refusion.config.layers import check
from refusion.training.epochs.plan import in_words, plan_training


def test_a_plan_counts_what_each_epoch_does() -> None:
    settings = check(
        [
            {
                "schedule": {"epochs": 3, "meta_iterations": 5, "fusion_steps": None, "inner_steps": {0: 1, 2: 3}},
                "images": {"crop": {0: 32, 1: 64}, "batch": 2, "subset": {0: 3, 1: 100}},
                "validation": {"images": {0: 2, 2: 9}, "every": 2},
                "meta": {"space": "parameters"},
            }
        ]
    )
    plans = plan_training(settings, train_pairs=7, val_pairs=4)
    assert [(plan.meta_iterations, plan.fusion_updates) for plan in plans] == [(5, 2), (5, 4), (5, 4)]
    assert [(plan.crop, plan.inner_steps, plan.parts) for plan in plans] == [(32, 1, 2), (64, 1, 2), (64, 3, 4)]
    # Every second epoch and the last one; never more pairs than there are.
    assert [plan.val_pairs for plan in plans] == [0, 2, 4]
    assert plans[1].cost("meta") == 4 * plans[0].cost("meta") == 2 * plans[1].cost("fusion")
    assert in_words(settings, plans, 4) == (
        "3 epochs of 5 meta-iterations (K 1 to 3) and 2 to 4 fusion updates, 2 pairs each, crops of 32 to 64; "
        "2 to 4 pairs validated"
    )


def test_on_the_image_more_inner_steps_draw_no_more_pairs() -> None:
    settings = check([{"schedule": {"inner_steps": 3, "epochs": 1}, "meta": {"space": "image"}}])
    (plan,) = plan_training(settings, 5, 1)
    assert (plan.inner_steps, plan.parts) == (3, 2)
    said = in_words(settings, [plan], 1)
    assert said.startswith("1 epoch of 30 meta-iterations") and said.endswith("; 1 pair validated")
