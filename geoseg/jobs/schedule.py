"""Entries that run a job again and again: for cron, systemd, Kubernetes and GitHub Actions."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from geoseg.errors import RecipeError
from geoseg.jobs.kubernetes import cron_job, dask_cluster, scheduler_address
from geoseg.jobs.needs import Needs

Parts = list[tuple[int | None, int | None, int]]
_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("weekday", 0, 7),
)
_PART = re.compile(r"(\*|\d+(?:-\d+)?)(?:/(\d+))?")
_DAYS_OF = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""The most that each month has."""
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
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


def fields_of(cron: str) -> list[Parts]:
    """Each field as its parts (first, last, step); first is None for ``*``, last is None for a single value.

    Raises:
        RecipeError: it is none of crontab(5), one with names or ``@`` words, or one that never comes.
    """
    words = cron.split()
    if len(words) != len(_FIELDS):
        raise RecipeError(
            f"--cron {cron!r} has {len(words)} fields, expected 5: minute, hour, day of the month, month, "
            "weekday. Give, for instance, '0 3 1 * *' for the first of each month at 3."
        )
    fields = [_field(word, *limits, cron) for word, limits in zip(words, _FIELDS, strict=True)]
    _, _, days, months, weekdays = fields
    first_day = min(first or 1 for first, _, _ in days)
    n_days = max(_DAYS_OF[month - 1] for part in months for month in _values(part))
    if first_day > n_days and weekdays[0][0] is None:
        raise RecipeError(f"--cron {cron!r} never comes: its months have {n_days} days at most.")
    return fields


def _values(part: tuple[int | None, int | None, int]) -> range:
    """The months of a part."""
    first, last, step = part
    return range(first or 1, (last or first or 12) + 1, step)


def _field(word: str, name: str, low: int, high: int, cron: str) -> Parts:
    parts: Parts = []
    for text in word.split(","):
        match = _PART.fullmatch(text)
        if match is None:
            raise RecipeError(f"--cron {cron!r}: {text!r} is no {name}. Give numbers, *, 1-5, */2 or 1,15.")
        step = int(match[2] or 1)
        if match[1] == "*":
            first, last = None, None
        else:
            ends = [int(end) for end in match[1].split("-")]
            first, last = ends[0], ends[1] if len(ends) > 1 else (high if match[2] else None)
        given = [value for value in (first, last) if value is not None]
        if step < 1 or any(not low <= value <= high for value in given) or given != sorted(given):
            raise RecipeError(f"--cron {cron!r}: {text!r} is no {name} from {low} to {high}.")
        parts.append((first, last, step))
    return parts


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


def on_calendar(cron: str) -> str:
    """The same times in the words of systemd.time(7).

    Raises:
        RecipeError: days of the month and weekdays are both named: cron takes either, systemd both.
    """
    minute, hour, day, month, weekday = fields_of(cron)
    if _is_any(weekday):
        days = ""
    elif not _is_any(day):
        raise RecipeError(
            f"--cron {cron!r} names days of the month and weekdays; systemd cannot run on either. Give one."
        )
    else:
        days = ",".join(_weekdays(weekday)) + " "
    minutes, hours, days_of_month, months = (
        _spans(parts, low, high)
        for parts, (_, low, high) in zip((minute, hour, day, month), _FIELDS, strict=False)
    )
    return f"{days}*-{months}-{days_of_month} {hours}:{minutes}:00"


def _is_any(parts: Parts) -> bool:
    return parts == [(None, None, 1)]


def _spans(parts: Parts, low: int, high: int) -> str:
    if (None, None, 1) in parts:
        return "*"  # systemd knows it only by itself
    words = []
    for first, last, step in parts:
        if first is None:
            first, last = low, high  # 00/5, which means the same, leaves hour 0 out in systemd 252
        span = f"{first:02d}" if last is None else f"{first:02d}..{last:02d}"
        words.append(span + (f"/{step}" if step > 1 else ""))
    return ",".join(words)


def _weekdays(parts: Parts) -> list[str]:
    found: dict[str, None] = {}
    for first, last, step in parts:
        low = 0 if first is None else first
        high = (6 if first is None else low) if last is None else last
        found |= dict.fromkeys(_DAYS[n] for n in range(low, high + 1, step))
    return sorted(found, key=_DAYS.index)


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
    job = cron_job(name, cron=schedule.cron, command=command, image=schedule.image, grace_s=GRACE_S)
    return {f"{name}.yaml": _yaml(job), **files}


def for_github_actions(schedule: Schedule) -> dict[str, str]:
    """A workflow, for ``.github/workflows``, run in the repository; maps are kept as artifacts."""
    name = f"geoseg-{schedule.slug}"
    run = shlex.join(schedule.command_elsewhere)
    secrets = {name: f"${{{{ secrets.{name} }}}}" for name in schedule.needs.secrets}
    workflow = {
        "name": f"geoseg {schedule.name}",
        "on": {"schedule": [{"cron": schedule.cron}], "workflow_dispatch": {}},
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
