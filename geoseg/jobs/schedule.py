"""Entries that run a job again and again: for cron, systemd, Kubernetes and GitHub Actions."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from geoseg.errors import RecipeError
from geoseg.jobs.cron import fields_of, on_calendar, sunday_as_0
from geoseg.jobs.kubernetes import cron_job, dask_cluster, scheduler_address
from geoseg.jobs.needs import Needs

GRACE_S = 900
"""For the block at hand, when a run is asked to stop."""
_WORD = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Schedule:
    """When a job runs, and how."""

    name: str
    """Of the job: what the entries are called after."""
    cron: str
    """Five fields of crontab(5), in numbers: ``0 3 1 * *``."""
    recipe: str
    """As it was given: a shipped name, or a path seen from ``folder``."""
    folder: str
    """Where it runs on this machine: its output folder is seen from there."""
    program: str = "geoseg"
    """On this machine, as a full path: timers have a PATH of their own."""
    maps: str = "geoseg-out"
    """Folder that its maps are in, seen from ``folder``."""
    image: str = "geoseg:latest"
    """Container that has geoseg, for Kubernetes."""
    needs: Needs = field(default_factory=Needs)
    """Of the recipe, where geoseg is installed anew."""
    dask_workers: int = 0
    """Of a Dask cluster that is always there, for Kubernetes; 0: blocks run in the job itself."""

    def __post_init__(self) -> None:
        fields_of(self.cron)

    @property
    def command(self) -> tuple[str, ...]:
        """What runs on this machine."""
        return self.program, "run", self.recipe

    @property
    def command_elsewhere(self) -> tuple[str, ...]:
        """What runs where geoseg is installed anew and the folder is another one.

        Raises:
            RecipeError: the recipe is named by a path of this machine.
        """
        if PurePath(self.recipe).is_absolute():
            raise RecipeError(
                f"{self.recipe} is a path of this machine, which no container has. Go to the folder that is "
                "taken along (a repository, a volume) and name the recipe from there."
            )
        return "geoseg", "run", self.recipe

    @property
    def slug(self) -> str:
        """The name in the letters that all of them allow: ``monthly-land-cover``."""
        return _WORD.sub("-", self.name.lower()).strip("-") or "job"


def for_cron(schedule: Schedule) -> dict[str, str]:
    """A line of crontab(5) for a user's own crontab. While one runs no other is started (flock(1))."""
    folder = PurePath(schedule.folder)
    lock, log = folder / f".{schedule.slug}.lock", folder / f"{schedule.slug}.log"
    parts = [
        f"cd {shlex.quote(str(folder))} &&",
        f"flock --nonblock --conflict-exit-code 0 {shlex.quote(str(lock))}",
        f"{shlex.join(schedule.command)} >> {shlex.quote(str(log))} 2>&1",
    ]
    line = " ".join(parts).replace("%", r"\%")  # cron takes % for a new line
    return {f"{schedule.slug}.crontab": f"# geoseg {schedule.name}\n{schedule.cron} {line}\n"}


def for_systemd(schedule: Schedule) -> dict[str, str]:
    """A service and its timer (systemd.timer(5)), for a user. A service that runs is not started again."""
    name = f"geoseg-{schedule.slug}"
    service = f"""[Unit]
Description=geoseg {schedule.name}

[Service]
Type=oneshot
WorkingDirectory={_unit_text(schedule.folder)}
ExecStart={" ".join(_unit_word(word) for word in schedule.command)}
# SIGTERM: the block at hand is finished; the next run goes on from there.
TimeoutStopSec={GRACE_S}
"""
    calendar = on_calendar(schedule.cron)
    timer = f"""[Unit]
Description=When geoseg {schedule.name} runs

[Timer]
OnCalendar={calendar}
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{name}.service": service, f"{name}.timer": timer}


def _unit_text(text: str) -> str:
    return text.replace("%", "%%")


def _unit_word(word: str) -> str:
    """A word of ExecStart, as systemd.service(5) quotes it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[\w@%+=:,./$-]+", escaped) else f'"{escaped}"'


def for_kubernetes(schedule: Schedule) -> dict[str, str]:
    """A CronJob and, where it is to have workers, the Dask cluster that it sends its blocks to."""
    name, command = f"geoseg-{schedule.slug}", schedule.command_elsewhere
    files = {}
    if schedule.dask_workers:
        command = (*command, "--scheduler", scheduler_address(name))
        dask = dask_cluster(name, image=schedule.image, n_workers=schedule.dask_workers)
        files[f"{name}-dask.yaml"] = _yaml(dask)
    job = cron_job(
        name, cron=sunday_as_0(schedule.cron), command=command, image=schedule.image, grace_s=GRACE_S
    )
    return {f"{name}.yaml": _yaml(job), **files}


def for_github_actions(schedule: Schedule) -> dict[str, str]:
    """A workflow, for ``.github/workflows``, run in the repository; maps are kept as artifacts."""
    name = f"geoseg-{schedule.slug}"
    run = shlex.join(schedule.command_elsewhere)
    secrets = {name: f"${{{{ secrets.{name} }}}}" for name in schedule.needs.secrets}
    workflow = {
        "name": f"geoseg {schedule.name}",
        "on": {"schedule": [{"cron": sunday_as_0(schedule.cron)}], "workflow_dispatch": {}},
        "permissions": {"contents": "read"},
        "concurrency": {"group": name, "cancel-in-progress": False},
        "jobs": {
            "map": {
                "runs-on": "ubuntu-latest",
                "steps": [
                    {"uses": "actions/checkout@v4"},
                    {"uses": "actions/setup-python@v5", "with": {"python-version": "3.12"}},
                    {"run": f"pip install {shlex.quote(schedule.needs.package)}"},
                    {"run": run, **({"env": secrets} if secrets else {})},
                    {
                        "uses": "actions/upload-artifact@v4",
                        "if": "always()",
                        "with": {"name": schedule.slug, "path": schedule.maps, "if-no-files-found": "warn"},
                    },
                ],
            }
        },
    }
    return {f"{name}.yml": _yaml(workflow)}


def _yaml(document: Mapping[str, object]) -> str:
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False, width=110)
    return text


@dataclass(frozen=True)
class Scheduler:
    """What starts jobs at their times."""

    entries: Callable[[Schedule], dict[str, str]]
    """The files that it wants, by name."""
    how: str
    """What to do with them; ``{first}``, ``{last}``, ``{files}``, ``{slug}``, ``{image}``,
    ``{package}`` and ``{keys}`` are filled in."""


SCHEDULERS = {
    "cron": Scheduler(for_cron, "Add it to your crontab: (crontab -l; cat {first}) | crontab -"),
    "systemd": Scheduler(
        for_systemd,
        "Move both to ~/.config/systemd/user/, then: systemctl --user enable --now {last}\n"
        "It runs while you are logged in. For always: loginctl enable-linger",
    ),
    "kubernetes": Scheduler(
        for_kubernetes,
        "Keep the recipe, the files that it names and its maps in a volume claim named geoseg-{slug}-maps. "
        "Keys for a Secret named geoseg-{slug}-keys: {keys}. The image {image} (Dockerfile, or --image) "
        "needs {package}. Then: kubectl apply {files}",
    ),
    "github-actions": Scheduler(
        for_github_actions,
        "Move it to .github/workflows/ of the repository that holds the recipe and the files that it names. "
        "Secrets that it must have: {keys}.",
    ),
}
"""By the name that ``--to`` takes."""
