"""What to try, for each kind of finding and configuration. Every flag named here is one of ``ganserve train``."""

from ganserve_training.config import TrainConfig
from ganserve_training.config.game import SIGNED_LOSSES
from ganserve_training.diagnosis.findings import Kind


def advise(kind: Kind, config: TrainConfig) -> str:
    """One sentence that names what this run has not tried yet."""
    tries = {
        "vanishing-gradients": _vanishing,
        "no-progress": _no_progress,
        "mode-collapse": _collapse,
        "oscillation": _oscillation,
        "critic-overfitting": _overfitting,
        "divergence": _divergence,
        "convergence": _convergence,
        "decline": _decline,
    }
    return tries[kind](config)


def _vanishing(config: TrainConfig) -> str:
    tries = []
    if config.loss.name == "minimax":
        tries.append("--loss.name modified-minimax, which does not saturate")
    if config.schedule.critic_steps > 1 and config.loss.name != "wasserstein":
        tries.append("--schedule.critic-steps 1")
    if config.optimisers.critic.learning_rate.start > config.optimisers.generator.learning_rate.start:
        tries.append("a critic that learns no faster than the generator (--optimisers.critic.learning-rate.start)")
    if config.regularisers.r1_gamma.most == 0.0:
        tries.append("--regularisers.r1-gamma.start 1 --regularisers.r1-gamma.end 1")
    if config.augmentation.instance_noise.most == 0.0:
        tries.append("noise that fades: --augmentation.instance-noise.start 0.3")
    return _sentence(tries)


def _no_progress(config: TrainConfig) -> str:
    tries = [
        "learning rates of 1e-4 to 1e-3 (--optimisers.generator.learning-rate.start and .end, --optimisers.critic."
        "learning-rate.start and .end)"
    ]
    if max(config.regularisers.r1_gamma.most, config.regularisers.r2_gamma.most) > 0.0:
        tries.append("a tenth of the penalties (--regularisers.r1-gamma.start, --regularisers.r2-gamma.start)")
    if config.regularisers.weight_clip > 0.0:
        tries.append("ten times the bound of the critic's weights (--regularisers.weight-clip)")
    return _sentence(tries)


def _collapse(config: TrainConfig) -> str:
    tries = []
    if config.loss.name != "relativistic-pairing":
        tries.append(
            "--loss.name relativistic-pairing with --regularisers.r1-gamma.start 1 and --regularisers.r2-gamma.start 1"
        )
    elif min(config.regularisers.r1_gamma.most, config.regularisers.r2_gamma.most) == 0.0:
        tries.append("both penalties, --regularisers.r1-gamma.start 1 and --regularisers.r2-gamma.start 1")
    else:
        tries.append("ten times the penalties (--regularisers.r1-gamma.start, --regularisers.r2-gamma.start)")
    if config.schedule.unrolled_steps == 0 and config.networks.architecture != "progressive":
        tries.append("--schedule.unrolled-steps 5")
    if config.networks.packing == 1:
        tries.append("--networks.packing 2 (unconditional models)")
    if config.networks.minibatch_stddev_group == 0:
        tries.append("--networks.minibatch-stddev-group 4")
    return _sentence(tries)


def _oscillation(config: TrainConfig) -> str:
    tries = [
        "half the learning rates (--optimisers.critic.learning-rate.start, --optimisers.generator.learning-rate.start)"
    ]
    if max(config.optimisers.critic.beta1, config.optimisers.generator.beta1) > 0.0:
        tries.append("no momentum (--optimisers.critic.beta1 0 --optimisers.generator.beta1 0)")
    if config.regularisers.r1_gamma.most == 0.0:
        tries.append("--regularisers.r1-gamma.start 1 --regularisers.r1-gamma.end 1")
    if config.augmentation.instance_noise.most == 0.0:
        tries.append("noise that fades: --augmentation.instance-noise.start 0.3")
    return _sentence(tries)


def _overfitting(config: TrainConfig) -> str:
    tries = ["more data"]
    if config.augmentation.translation_px == 0:
        tries.append("augmentation that the generator does not learn (--augmentation.translation-px, images only)")
    if config.augmentation.ada.target == 0.0 and config.loss.name in SIGNED_LOSSES:
        tries.append("its controller (--augmentation.ada.target 0.6)")
    if config.regularisers.r1_gamma.most == 0.0:
        tries.append("--regularisers.r1-gamma.start 1 --regularisers.r1-gamma.end 1")
    else:
        tries.append("a larger --regularisers.r1-gamma.start")
    tries.append("a smaller critic (--networks.critic-width)")
    return _sentence(tries)


def _divergence(config: TrainConfig) -> str:
    tries = []
    free = config.regularisers.weight_clip == config.regularisers.gradient_penalty.weight == 0.0
    if config.loss.name == "wasserstein" and free and config.networks.spectral_norm == "off":
        tries.append("what keeps a Wasserstein critic Lipschitz: --regularisers.gradient-penalty.weight 10")
    tries.append(
        "half the learning rates (--optimisers.critic.learning-rate.start, --optimisers.generator.learning-rate.start)"
    )
    if config.regularisers.r1_gamma.most > 0.0:
        tries.append("ten times the penalties (--regularisers.r1-gamma.start, --regularisers.r2-gamma.start)")
    elif config.loss.name != "wasserstein":
        tries.append("--regularisers.r1-gamma.start 1 --regularisers.r2-gamma.start 1")
    return _sentence(tries)


def _convergence(config: TrainConfig) -> str:
    keeps = (
        "checkpoints/best-*.pt keeps the best so far"
        if config.diagnosis.keep_best
        else "keep the best with --diagnosis.keep-best"
    )
    stops = "" if config.diagnosis.patience else ", and --diagnosis.patience 10 stops a run whose quality declines"
    return f"Convergence of a GAN is fleeting: {keeps}{stops}."


def _decline(config: TrainConfig) -> str:
    tries = [
        "a learning rate that falls (--optimisers.generator.learning-rate.end, --optimisers.critic.learning-rate.end)"
    ]
    if not config.diagnosis.patience:
        tries.append("--diagnosis.patience 10, which stops such a run by itself")
    kept = (
        "Use checkpoints/best-*.pt, which keeps the best; for another run, try "
        if config.diagnosis.keep_best
        else "Try "
    )
    return kept + _join(tries) + "."


def _sentence(tries: list[str]) -> str:
    return (
        f"For another run, try {_join(tries)}."
        if tries
        else "Every remedy known to ganserve is on already: try more of each."
    )


def _join(tries: list[str]) -> str:
    return tries[0] if len(tries) == 1 else ", ".join(tries[:-1]) + ", or " + tries[-1]
