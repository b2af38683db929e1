"""Test the pure parts of diagnosis: rules over made-up histories, debouncing, and the form on disk."""

import json
import math
from dataclasses import asdict, replace

import pytest

from ganserve_training.config import DiagnosisConfig
from ganserve_training.diagnosis import KINDS, Finding, Kind, Observation, diagnose
from ganserve_training.diagnosis.findings import Debounce
from ganserve_training.diagnosis.quality_history import best_observation, is_better
from ganserve_training.diagnosis.rules import RULES
from ganserve_training.errors import ConfigError
from observations import HEALTHY, history


def test_a_healthy_run_has_no_finding() -> None:
    for count in range(1, 25):
        assert diagnose(history(count)) == {}


@pytest.mark.parametrize(("slope", "found"), [(0.049, True), (0.051, False)])
def test_a_winning_critic_with_a_saturated_loss_is_vanishing_gradients(slope: float, found: bool) -> None:
    seen = history(1, real_accuracy=1.0, fake_accuracy=0.97, loss_slope=slope)
    assert ("vanishing-gradients" in diagnose(seen)) == found
    beaten = history(1, real_accuracy=1.0, fake_accuracy=0.94, loss_slope=slope)
    assert "vanishing-gradients" not in diagnose(beaten)


def test_a_gradient_far_below_its_usual_size_is_vanishing_gradients() -> None:
    norms = [0.2, 0.3, 0.2, 0.2, 0.001]
    wins = {"real_accuracy": 0.99, "held_out_accuracy": 0.99, "fake_accuracy": 0.99}
    seen = history(5, **wins, sample_gradient_norm=norms)
    assert "0.50% of what it usually was" in diagnose(seen)["vanishing-gradients"]
    assert diagnose(seen[:4]) == {}
    assert diagnose(history(5, sample_gradient_norm=norms)) == {}  # At an equilibrium small gradients are normal.


def test_a_critic_that_gives_all_samples_one_score_is_idle() -> None:
    idle = {"quality": 0.95, "critic_loss": 0.693, "real_accuracy": 0.0, "held_out_accuracy": 0.0, "fake_accuracy": 0.0}
    drifting = [(0.1 * look, 0.0) for look in range(5)]
    found = diagnose(history(5, **idle, centre=drifting))
    assert set(found) == {"idle-critic"}
    assert "its loss has stayed at 0.693 for 5 looks, it is right 0% of the time" in found["idle-critic"]
    one_sided = {**idle, "real_accuracy": 1.0, "held_out_accuracy": 1.0}
    assert "idle-critic" in diagnose(history(5, **one_sided, centre=drifting))
    for learning in ({"critic_loss": [0.693, 0.69, 0.68, 0.67, 0.66]}, {"quality": 0.85}, {"real_accuracy": 0.7}):
        fields = {**idle, "fake_accuracy": 0.7 if "real_accuracy" in learning else 0.0, **learning}
        assert "idle-critic" not in diagnose(history(5, **fields, centre=drifting))
    assert "idle-critic" not in diagnose(history(4, **idle, centre=drifting[:4]))


def test_a_critic_that_its_generator_outruns_is_idle() -> None:
    rising = {"quality": 0.95, "critic_loss": [0.7, 0.9, 1.2, 1.5, 1.8], "held_out_accuracy": 0.0}
    drifting = [(0.1 * look, 0.0) for look in range(5)]
    outrun = {**rising, "real_accuracy": 0.0, "fake_accuracy": 0.0}
    found = diagnose(history(5, **outrun, centre=drifting))
    assert "right at most 0% of the time at every look" in found["idle-critic"]
    for learning in ({"real_accuracy": [0.8, 0.0, 0.0, 0.0, 0.0]}, {"critic_loss": [1.8, 1.5, 1.2, 0.9, 0.7]}):
        assert "idle-critic" not in diagnose(history(5, **{**outrun, **learning}, centre=drifting))


def test_samples_that_do_not_move_from_the_start_are_no_progress() -> None:
    stuck = {"quality": 0.95, "diversity": 0.5, "offset": 0.6, "fake_accuracy": 0.98}
    found = diagnose(history(10, **stuck))
    assert set(found) == {"no-progress"}
    assert "hardly moved for 10 looks" in found["no-progress"]
    assert "is 0.95 and was 1 before training, and the critic recognises 98% of them" in found["no-progress"]
    assert diagnose(history(9, **stuck)) == {}
    assert diagnose(history(10, **{**stuck, "quality": 0.89})) == {}  # The quality improved.
    assert diagnose(history(10, **{**stuck, "quality": None, "quality_name": None})) == {}  # The quality is unknown.
    moving = [(0.02 * look, 0.0) for look in range(10)]
    assert diagnose(history(10, **stuck, centre=moving)) == {}
    assert diagnose(history(10, **{**stuck, "diversity": [0.5 + 0.02 * look for look in range(10)]})) == {}
    saturated = history(10, **stuck, real_accuracy=1.0, held_out_accuracy=1.0, loss_slope=0.01)
    assert set(diagnose(saturated)) == {"vanishing-gradients"}  # This finding gives the cause.


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"diversity": 0.39},
            "differ from each other only 39% as much as real samples do, and reach 19 of the 20",
        ),
        ({"diversity": 0.41}, None),
        ({"regions_reached": 11}, "reach only 11 of the 20 clusters of the data"),
        ({"regions_reached": 12}, None),
        ({"regions_reached": 3, "regions": 8, "region_kind": "modes"}, "reach only 3 of the 8 modes"),
    ],
)
def test_similar_samples_and_missing_regions_are_mode_collapse(changes: dict[str, object], found: str | None) -> None:
    seen = history(5, **changes)
    assert found is None or found in diagnose(seen)["mode-collapse"]
    assert ("mode-collapse" in diagnose(seen)) == (found is not None)
    assert "mode-collapse" not in diagnose(seen[:4])  # Too early to know.


def test_an_early_deep_collapse_is_reported_but_untrained_samples_are_not() -> None:
    assert "mode-collapse" in diagnose(history(1, diversity=0.19))
    assert diagnose(history(1, diversity=0.21)) == {}
    assert diagnose(history(1, diversity=0.5, regions_reached=1)) == {}
    untrained = {"diversity": 0.05, "regions_reached": 1, "quality": 1.0}
    assert diagnose(history(5, **untrained)) == {}
    assert set(diagnose(history(10, **untrained))) == {"no-progress"}
    learned = history(10, **{**untrained, "quality": 0.7})
    assert "mode-collapse" in diagnose(learned)  # It stands still after it has learned.


def test_samples_that_get_more_varied_are_on_their_way_out_of_a_collapse() -> None:
    assert when("mode-collapse", history(6, diversity=[0.05, 0.06, 0.09, 0.14, 0.19, 0.26])) == [1, 2]
    stuck = [0.05, 0.06, 0.09, 0.09, 0.09, 0.09, 0.09, 0.09]
    assert when("mode-collapse", history(8, diversity=stuck)) == [1, 2, 7, 8]
    fallen = [0.3, 0.03, 0.04, 0.06]  # It rises, but was higher before.
    assert when("mode-collapse", history(4, diversity=fallen)) == [2, 3, 4]


def test_equal_samples_are_mode_collapse_even_if_they_never_moved() -> None:
    blank = {"diversity": 0.01, "regions_reached": 1, "quality": 1.0}
    assert when("mode-collapse", history(3, **blank)) == [1, 2, 3]
    assert "all but the same, and reach 1 of the 20 clusters" in diagnose(history(1, **blank))["mode-collapse"]


def test_samples_that_jump_back_and_forth_are_oscillation() -> None:
    there_and_back = [(0.3, 0.0), (-0.3, 0.0)] * 5
    assert "by 60% of the real samples' mean distance" in diagnose(history(10, centre=there_and_back))["oscillation"]
    assert "oscillation" not in diagnose(history(9, centre=there_and_back[:9]))
    going_somewhere = [(3.0 - 0.3 * step, 0.0) for step in range(10)]
    assert "oscillation" not in diagnose(history(10, centre=going_somewhere, offset=0.5))
    trembling = [(0.05, 0.0), (-0.05, 0.0)] * 5
    assert "oscillation" not in diagnose(history(10, centre=trembling))


def test_a_critic_that_is_repeatedly_fooled_is_oscillation() -> None:
    seen = history(10, fake_accuracy=[0.9, 0.5, 0.1, 0.5, 0.9, 0.5, 0.1, 0.5, 0.9, 0.5])
    assert "4 times" in diagnose(seen)["oscillation"]
    seen = history(10, fake_accuracy=[0.9, 0.5, 0.3, 0.5, 0.9, 0.5, 0.3, 0.5, 0.9, 0.5])
    assert "oscillation" not in diagnose(seen)


def test_a_gap_to_held_out_samples_is_critic_overfitting() -> None:
    found = diagnose(history(3, real_accuracy=0.9, held_out_accuracy=[0.5, 0.7, 0.9]))["critic-overfitting"]
    assert "takes 90% of its training samples for real, but only 70% of real samples that it never saw" in found
    assert diagnose(history(3, real_accuracy=0.9, held_out_accuracy=[0.9, 0.9, 0.6])) == {}  # Once, by chance.
    assert diagnose(history(3, real_accuracy=0.9, held_out_accuracy=None, held_out_score=None)) == {}


def test_growing_scores_are_divergence() -> None:
    found = diagnose(history(6, fake_score=[-10.0, -20.0, -40.0, -80.0, -120.0, -160.0]))["divergence"]
    assert "160 apart, up from 10.5 5 looks ago" in found
    assert diagnose(history(6, fake_score=-160.0)) == {}  # Far apart, but constant.
    assert diagnose(history(6, fake_score=[-1.0, -2.0, -4.0, -8.0, -16.0, -32.0])) == {}


# Recorded: the ring, hinge loss, a critic at a learning rate of 0.1, every 30 steps, seed 0. Its scores are 50 apart.
OVERSHOT_LOSS = [
    *(1.29, 1.59, 2.83, 1.63, 52.56, 42.93, 58.78, 28.97, 23.45, 11.98, 11.19, 20.48, 14.08, 1.34, 12.1, 5.82)
]
OVERSHOT_QUALITY = [4.46, 4.46, 4.46, 4.46, 4.5, 4.48, 4.48, 4.5, 4.5, 4.44, 4.48, 4.48, 4.5, 4.46, 4.44, 4.48]
# Healthy Wasserstein critics with a gradient penalty of 10, on digits and on patches of photographs.
DIGITS_LOSS = [-1.21, -2.49, -3.43, -3.94, -4.26, -4.39, -4.29, -4.15, -3.95, -3.75, -3.57, -3.41]
PATCHES_LOSS = [-65.4, -67.4, -72.0, -54.5, -57.3, -61.4, -62.9, -62.8, -65.6, -65.4, -66.2, -66.4]


def recorded(loss: list[float], quality: list[float]) -> list[Observation]:
    return history(len(loss), critic_loss=loss, quality=quality, untrained_quality=4.5)


def when(kind: Kind, seen: list[Observation]) -> list[int]:
    """Return the looks at which a condition holds, counted from 1."""
    return [look for look in range(1, len(seen) + 1) if kind in diagnose(seen[:look])]


def test_a_critic_loss_far_above_an_ignorant_critics_is_divergence() -> None:
    seen = recorded(OVERSHOT_LOSS, OVERSHOT_QUALITY)
    assert when("divergence", seen) == [6, 7, 8, 9, 10, 11, 12, 13, 15]  # Reported at the third look in a row, look 8.
    assert "overshoots: its loss is 42.9, while a critic that knows nothing pays" in diagnose(seen[:6])["divergence"]
    unmeasured = history(16, critic_loss=OVERSHOT_LOSS, quality=None, quality_name=None)
    assert when("divergence", unmeasured) == when("divergence", seen)


def test_a_healthy_loss_or_a_better_quality_is_not_divergence() -> None:
    flat = [4.5] * 12
    for loss in (DIGITS_LOSS, PATCHES_LOSS, [2.4] * 12, [0.0] * 12):
        assert when("divergence", recorded(loss, flat)) == []
    falling = [4.5 * 0.95**look for look in range(16)]
    assert when("divergence", recorded(OVERSHOT_LOSS, falling)) == []
    drifting = [10.0**look for look in range(16)]  # Both scores move together: only the generator's loss changes.
    assert diagnose(history(16, generator_loss=drifting)) == {}


def test_samples_far_from_the_data_are_divergence_not_mode_collapse() -> None:
    assert set(diagnose(history(5, offset=4.0, diversity=0.01))) == {"divergence"}
    assert set(diagnose(history(5, diversity=5.0))) == {"divergence"}


def test_numbers_that_are_not_finite_are_divergence_at_once() -> None:
    seen = [*history(3), replace(HEALTHY, critic_loss=math.nan)]
    assert diagnose(seen) == {"divergence": "Some of the players' numbers are no longer finite."}


def test_good_samples_that_fool_the_critic_are_convergence() -> None:
    even = {"real_accuracy": 0.55, "fake_accuracy": 0.6}
    assert "right 57% of the time" in diagnose(history(7, **even))["convergence"]
    assert diagnose(history(4, **even)) == {}  # An untrained critic is fooled, too.
    assert diagnose(history(7, real_accuracy=0.7, fake_accuracy=0.7)) == {}
    for poor in ({"diversity": 0.6}, {"offset": 0.3}):
        assert diagnose(history(7, **even, **poor)) == {}
    assert "convergence" not in diagnose(history(7, **even, regions_reached=5))
    assert diagnose(history(7, **even, quality=0.6)) == {}  # The error was 1 before training.
    for likeness in ({"precision": 0.55, "recall": 1.0}, {"precision": 1.0, "recall": 0.55}):
        assert diagnose(history(7, **even, **likeness)) == {}
    assert set(diagnose(history(7, **even, precision=0.8, recall=0.65))) == {"convergence"}
    falling = [0.1] * 6 + [0.4] * 6
    assert "convergence" not in diagnose(history(12, **even, quality=falling))


def test_a_worse_quality_than_before_is_decline() -> None:
    errors = [1.0, 0.6, 0.3, 0.11, 0.10, 0.12, 0.11, 0.10, 0.15, 0.2, 0.3]
    found = diagnose(history(11, quality=errors))["decline"]
    assert "since step 1000: sliced_wasserstein was 0.1 then and is 0.3 now" in found
    assert "decline" not in diagnose(history(9, quality=errors[:9]))
    noisy = [1.0, 0.5, 0.1, 0.4, 0.15, 0.45, 0.1, 0.4, 0.2, 0.45, 0.3]  # The usual noise.
    assert "decline" not in diagnose(history(11, quality=noisy))
    shares = [0.5, 0.9, 0.95, 0.96, 0.96, 0.95, 0.96, 0.9, 0.9, 0.88]
    assert "decline" in diagnose(history(10, quality=shares, quality_name="gan_test", higher_is_better=True))
    unbiased = [1.0, 0.3, 0.01, -0.001, 0.002, 0.001, -0.002, 0.001, 0.002, 0.001]  # KID may be below zero.
    assert "decline" not in diagnose(history(10, quality=unbiased, quality_name="kid"))


def test_growing_networks_are_neither_the_best_nor_a_reference() -> None:
    """Samples of growing networks that look better than the final ones."""
    grown = [0.5, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3]
    seen = history(14, quality=[0.05] * 7 + grown, growing=[True] * 7 + [False] * 7)
    assert "decline" not in diagnose(seen)
    assert "decline" in diagnose([replace(item, growing=False) for item in seen])
    best = best_observation(seen)
    assert best == seen[9]
    assert not is_better(replace(seen[0], quality=0.01), best)
    assert not is_better(seen[0], None)
    assert is_better(seen[7], None)
    # A decline is reported for later looks, with their own peak.
    falling = [*seen, *history(3, quality=0.6)]
    assert "was 0.3 then and is 0.6 now" in diagnose(falling)["decline"]
    assert "decline" not in diagnose([*falling, replace(falling[-1], growing=True)])
    even = {"real_accuracy": 0.55, "fake_accuracy": 0.6}
    assert diagnose(history(12, **even, growing=[True] * 8 + [False] * 4)) == {}
    assert diagnose(history(12, **even, growing=True)) == {}
    assert set(diagnose(history(13, **even, growing=[True] * 8 + [False] * 5))) == {"convergence"}


def test_every_kind_has_a_rule_and_needs_no_quality() -> None:
    assert tuple(RULES) == KINDS
    assert diagnose(history(20, quality=None, quality_name=None)) == {}


def test_the_best_observation_is_the_first_with_the_best_quality() -> None:
    seen = history(4, quality=[0.3, 0.1, 0.1, 0.2])
    assert best_observation(seen) == seen[1]
    assert best_observation(history(2, quality=None)) is None
    assert is_better(seen[1], seen[0])
    assert not is_better(seen[2], seen[1])
    assert is_better(seen[0], None)
    assert not is_better(replace(HEALTHY, quality=None), None)
    shares = history(3, quality=[0.5, 0.9, 0.7], higher_is_better=True)
    assert best_observation(shares) == shares[1]


def test_a_lasting_condition_is_reported_again_only_after_it_has_ended() -> None:
    debounce = Debounce()
    there: list[bool] = [True, True, False, True, True, True, True, False, True, False, False, False, True, True, True]
    told = [debounce.feed({"decline"} if now else set()) for now in there]
    assert [index for index, now in enumerate(told) if now.begun] == [5, 14]
    assert [index for index, now in enumerate(told) if now.ended] == [11]
    assert debounce.lasting == {"decline"}
    assert debounce.streak("decline") == 3


def test_debounce_continues_from_its_state() -> None:
    straight, first = Debounce(), Debounce()
    looks = [{"decline"}, {"decline", "oscillation"}, {"oscillation"}, {"decline", "oscillation"}, {"decline"}]
    expected = [straight.feed(now) for now in looks]
    early = [first.feed(now) for now in looks[:2]]
    second = Debounce()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert early + [second.feed(now) for now in looks[2:]] == expected
    assert second.state_dict() == straight.state_dict()


def test_observations_and_findings_are_read_back_unchanged() -> None:
    for observation in (
        HEALTHY,
        replace(HEALTHY, held_out_accuracy=None, held_out_score=None, quality=None, untrained_quality=None),
        replace(HEALTHY, critic_loss=math.inf, fake_score=-math.inf, centre=(0.5, math.inf)),
    ):
        text = json.dumps(observation.to_dict(), allow_nan=False)
        assert Observation.from_dict(json.loads(text)) == observation
    old = {name: value for name, value in HEALTHY.to_dict().items() if name != "growing"}
    assert Observation.from_dict(old) == HEALTHY
    broken = Observation.from_dict(json.loads(json.dumps(replace(HEALTHY, offset=math.nan).to_dict())))
    assert math.isnan(broken.offset)
    assert not broken.is_finite
    finding = Finding(step=400, kind="mode-collapse", message="They are alike.", advice="Try this.")
    assert Finding(**json.loads(json.dumps(asdict(finding)))) == finding
    assert str(finding) == "mode collapse at step 400: They are alike. Try this."
    end = Finding(step=900, kind="mode-collapse", message="They differ.", advice="", over=True)
    assert str(end) == "recovered from mode collapse at step 900: They differ."
    assert str(replace(end, kind="convergence")) == "no longer converged at step 900: They differ."
    assert Finding(**{name: value for name, value in asdict(finding).items() if name != "over"}) == finding


def test_wrong_numbers_in_the_configuration_are_refused() -> None:
    for wrong in ({"every_steps": 0}, {"samples": 8}, {"patience": -1}):
        with pytest.raises(ConfigError, match=f"--diagnosis.{next(iter(wrong)).replace('_', '-')} .*: must be"):
            DiagnosisConfig(**wrong)  # type: ignore[arg-type]
