"""A study on a TPU VM or pod, which may be taken away: one command each.

  python -m launch.tpu create --name=NAME --zone=ZONE --type=v5litepod-16 \
    --runtime=v2-alpha-tpuv5-lite [--spot]
  python -m launch.tpu setup  --name=NAME --zone=ZONE --repository=URL
  python -m launch.tpu run    (the same flags as all of these) \
    --workdir=gs://BUCKET/X --config=configs/X.py [--args="--config.seed=1"]
  python -m launch.tpu fetch  --workdir=gs://BUCKET/X --out=runs/X
  python -m launch.tpu delete --name=NAME --zone=ZONE

Each does what is left to do and may be repeated. `run` starts the study on all
hosts at once, as one program; where the TPU was taken away meanwhile it creates
it anew, sets it up and goes on from the checkpoints. Compiled programs are kept
in the bucket. With --dry_run the commands are printed, and none is run. It
needs the gcloud command line; it was not tried on a real TPU yet.
"""

import shlex
import subprocess
import time
from collections.abc import Callable, Sequence

from absl import flags

from imp_jax.command.cli import BadInput, run_program
from imp_jax.command.output import complain, say

# (command) -> (exit code, standard output).
Shell = Callable[[Sequence[str]], tuple[int, str]]

_POLL_SECONDS = 30.0
_RESOURCES = ("gcloud", "compute", "tpus", "queued-resources")
_NEEDS = {
  "create": ("name", "zone", "type", "runtime"),
  "setup": ("name", "zone", "repository"),
  "run": (
    *("name", "zone", "type", "runtime", "repository"),
    *("workdir", "config"),
  ),
  "fetch": ("workdir", "out"),
  "delete": ("name", "zone"),
}


def define_flags() -> None:
  """Defines the program's flags."""
  for name, meaning in (
    ("name", "Of the TPU."),
    ("zone", "Where it is."),
    ("type", "Of accelerator, e.g. v5litepod-16."),
    ("runtime", "The version of its software, e.g. v2-alpha-tpuv5-lite."),
    ("repository", "That the project is cloned from."),
    ("workdir", "gs://BUCKET/FOLDER."),
    ("config", "A study's, as a path in the project."),
    ("args", "More flags of the study's program, in one text."),
    ("out", "The folder that results are fetched to."),
  ):
    flags.DEFINE_string(name, None, meaning)
  flags.DEFINE_bool("spot", False, "One that is cheaper, and taken away.")
  flags.DEFINE_bool("dry_run", False, "Print the commands, and run none.")


def create(shell: Shell) -> None:
  """Makes the TPU, unless it is there, and waits for it."""
  given = flags.FLAGS
  place = (given.name, f"--zone={given.zone}")
  while (state := state_of(shell)) != "ACTIVE":
    if state in ("SUSPENDED", "SUSPENDING", "FAILED"):  # it was taken away
      delete(shell)
      state = ""
    if not state:
      spot = ("--spot",) if given.spot else ()
      run(
        shell,
        (
          *(*_RESOURCES, "create", *place, f"--node-id={given.name}"),
          f"--accelerator-type={given.type}",
          *(f"--runtime-version={given.runtime}", *spot),
        ),
      )
    if given.dry_run:
      return
    time.sleep(_POLL_SECONDS)


def state_of(shell: Shell) -> str:
  """Returns the TPU's state by gcloud, "" where there is none."""
  given = flags.FLAGS
  code, text = shell(
    (
      *(*_RESOURCES, "describe", given.name, f"--zone={given.zone}"),
      "--format=value(state.state)",
    )
  )
  return text.strip() if code == 0 else ""


def setup(shell: Shell) -> None:
  """Installs the project on every host, unless it is there."""
  repository = shlex.quote(flags.FLAGS.repository)
  run(
    shell,
    on_all_hosts(
      f"test -d imp_jax || git clone {repository} imp_jax; cd imp_jax && "
      "git pull --ff-only && python3 -m venv .venv && "
      ".venv/bin/pip install --quiet -e '.[tpu,gcs]'"
    ),
  )


def study(shell: Shell) -> int:
  """Runs the study until it ends by itself; returns its exit code."""
  given = flags.FLAGS
  command = (
    f"cd imp_jax && JAX_COMPILATION_CACHE_DIR={given.workdir}/programs "
    f".venv/bin/python -m launch.main --distributed --config={given.config} "
    f"--workdir={given.workdir} {given.args or ''}"
  )
  while True:
    create(shell)
    setup(shell)
    code, _ = shell(on_all_hosts(command.strip()))
    # gcloud's own failures have the codes of a study's.
    if code == 0 or given.dry_run or state_of(shell) == "ACTIVE":
      return code
    complain("the TPU was taken away: it is made anew")


def fetch(shell: Shell) -> None:
  """Copies tables and figures from the bucket."""
  given = flags.FLAGS
  source = f"{given.workdir}/studies"
  run(shell, ("gcloud", "storage", "rsync", "--recursive", source, given.out))


def delete(shell: Shell) -> None:
  """Removes the TPU, if it is there."""
  given = flags.FLAGS
  if given.dry_run or state_of(shell):
    place = (given.name, f"--zone={given.zone}")
    run(shell, (*_RESOURCES, "delete", *place, "--force", "--quiet"))


def on_all_hosts(command: str) -> tuple[str, ...]:
  """Returns what runs a command on every host of the TPU."""
  given = flags.FLAGS
  return (
    *("gcloud", "compute", "tpus", "tpu-vm", "ssh", given.name),
    *(f"--zone={given.zone}", "--worker=all", f"--command={command}"),
  )


def run(shell: Shell, command: Sequence[str]) -> None:
  """Runs a command.

  Raises:
    RuntimeError: it failed.
  """
  code, _ = shell(command)
  if code:
    raise RuntimeError(f"{shlex.join(command)} ended with {code}")


def printed(command: Sequence[str]) -> tuple[int, str]:
  """Prints a command in place of running it."""
  say(shlex.join(command))
  return 0, ""


def executed(command: Sequence[str]) -> tuple[int, str]:
  """Runs a command; what it says on standard error is seen."""
  done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
  return done.returncode, done.stdout


def main(argv: list[str]) -> int:
  """Runs what the arguments ask for; returns the exit code."""
  given, wanted = flags.FLAGS, argv[1:]
  if len(wanted) != 1 or wanted[0] not in _NEEDS:
    raise BadInput(f"give one of {', '.join(_NEEDS)}, got {' '.join(wanted)!r}")
  (what,) = wanted
  for name in _NEEDS[what]:
    if not given[name].value:
      raise BadInput(f"{what} needs --{name}")
  if given.workdir and not given.workdir.startswith("gs://"):
    raise BadInput(f"--workdir must be gs://BUCKET/..., got {given.workdir}")
  shell = printed if given.dry_run else executed
  try:
    if what == "run":
      return study(shell)
    {"create": create, "setup": setup, "fetch": fetch, "delete": delete}[what](
      shell
    )
  except (RuntimeError, FileNotFoundError) as error:
    raise BadInput(error) from None
  return 0


if __name__ == "__main__":
  define_flags()
  run_program(main)
