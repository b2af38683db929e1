"""Answer options of other programs that people try first with what to use here."""


def _both(end: str) -> str:
    return f"--optimisers.generator.{end} and --optimisers.critic.{end}"


_STEPS = "--steps, which counts updates: epochs * samples / --batch-size"
_GPUS = "--device cuda; to share each batch among 4 GPUs, add --processes 4"
_RIGHT = {
    _both("learning-rate"): "lr learning-rate",
    "--optimisers.generator.learning-rate": "lr-g g-lr glr generator-lr",
    "--optimisers.critic.learning-rate": "lr-d d-lr dlr discriminator-lr critic-lr",
    _both("beta1"): "beta1 b1",
    _both("beta2"): "beta2 b2",
    _both("name"): "optimizer optimiser",
    _STEPS: "epochs epoch n-epochs nepochs num-epochs niter iterations max-iter total-iters kimg",
    "--batch-size": "batch bs batchsize",
    "--data": "data-dir dataroot data-root dataset data-path input input-dir train-dir",
    _GPUS: "gpu gpus gpu-id gpu-ids cuda num-gpus ngpu",
    "--device cpu": "cpu no-cuda",
    "--out": "output out-dir outdir output-dir save-dir save-path checkpoint-dir logdir log-dir name",
    "--data.size": "resolution image-size img-size imsize img size",
    "--data.channels": "channels nc num-channels img-channels",
    "--data.labels use or ignore": "cond conditional class-cond unconditional",
    "--data.flip": "mirror hflip random-flip",
    "--data.workers": "workers num-workers",
    "--networks.latent-dim": "nz nz-dim z-dim zdim latent-size noise-dim",
    "--networks.generator-width": "ngf",
    "--networks.critic-width": "ndf",
    "--networks.architecture": "arch architecture model cfg",
    "--loss.name": "loss gan-mode loss-type",
    "--regularisers.r1-gamma": "gamma r1 r1-gamma",
    "--regularisers.gradient-penalty.weight": "gp gp-weight lambda-gp gp-lambda",
    "--regularisers.weight-clip": "clip clip-value",
    "--schedule.critic-steps": "n-critic ncritic d-steps n-disc critic-iters",
    "--ema.half-life-kimg": "ema ema-kimg ema-decay",
    "--augmentation.ada.target": "ada aug augment",
    "--output.checkpoint-every-steps": "snap snapshot save-every save-interval save-freq checkpoint-every",
    "--output.samples-every-steps": "sample-interval sample-every",
    "--output.log-every-steps": "log-interval log-every print-freq",
    "--precision bfloat16": "fp16 amp bf16 mixed-precision",
    "the same command as before: it continues the run of --out": "resume continue resume-from",
}
ANSWERS = {f"--{name}": right for right, names in _RIGHT.items() for name in names.split()}
_COMPACT = {name.replace("-", ""): right for name, right in ANSWERS.items()}


def answer_to(flag: str) -> str | None:
    """Return what to use in place of a familiar flag, however it is hyphenated: --imgsize, --num_epochs, --LR."""
    return ANSWERS.get(flag) or _COMPACT.get(flag.lower().replace("-", "").replace("_", ""))
