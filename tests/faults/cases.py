"""Wrong inputs of every kind, as data: what is given, and what a user is told.

``met(case, home)`` tries one in a project of its own. The book's table of faults is made of these.
"""

import contextlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from bdnb import defences, models, sweep
from bdnb.poison import stamps
from bdnb.runs import experiments
from bdnb.runs.records import Run, read_runs
from bdnb.runtime import plugins
from bdnb.runtime.errors import BdnbError
from bdnb.training import objectives


@dataclass(frozen=True)
class Prepare:
    """What is done to a project first. holds: in Markdown, what its file is like then."""

    act: Callable[[Path], object]
    holds: str


@dataclass(frozen=True)
class Case:
    """One wrong input.

    kind: class of inputs, for the table. how: a notebook's name, a module with a ``main``, or
    "run" (a notebook's runs are begun, too), "records" (``read_runs``). given: parameters or
    arguments. says: what the message must match. prepare: writes files into the project first.
    left: names of files that are there afterwards, and were not before.
    """

    kind: str
    how: str
    given: dict[str, Any] | list[str]
    says: str
    prepare: Prepare | None = None
    left: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The case in a line, as a user would type it."""
        if isinstance(self.given, list):
            return f"{self.how} {' '.join(self.given)}"
        return f"{self.how} {' '.join(f'-p {k} {v}' for k, v in self.given.items())}"


@dataclass(frozen=True)
class Met:
    """What a user met: the lines that were printed, the exit status, what is new on the disk."""

    printed: list[str]
    status: int
    left: list[str] = field(default_factory=list)


def met(case: Case, home: Path) -> Met:
    """Try a wrong input in the project ``home``, which ``BDNB_HOME`` names."""
    if case.prepare:
        case.prepare.act(home)
    before = files(home)
    said = io.StringIO()
    status = 0
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            _act(case)
    except BdnbError as error:  # as papermill ends: bdnb.runtime._papermill_engine
        said.write("\n".join(error._render_traceback_()) + "\n")
        status = error.status
    except SystemExit as end:
        status = int(end.code or 0)
    return Met(said.getvalue().splitlines(), status, sorted(files(home) - before))


def _act(case: Case) -> None:
    if isinstance(case.given, list):
        module = import_module(case.how)
        with mock.patch.object(sys, "argv", [case.how, *case.given]):
            module.main()
    elif case.how == "records":
        read_runs(**case.given)
    else:
        notebook = "clean" if case.how == "run" else case.how
        own = {"scale": "tiny", "experiment": {"train": "train_mmcl"}.get(notebook, notebook)}
        if notebook == "ablations":
            own = {"scale": "tiny", "study": "shrink_perturb"}
        made = sweep.from_notebook(notebook, own | case.given)
        if case.how == "run":
            made.run()


def files(home: Path) -> set[str]:
    """The files of a project, but for data, which is kept between cases."""
    found = (p for p in home.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(home).as_posix() for p in found}


def code(words: str) -> str:
    """Markdown that shows these words as they are, in one line of a table."""
    line = " ⏎ ".join(words.strip().splitlines())
    return "`` " + line.replace("|", "\\|").replace("``", "` `") + " ``"


def writes(path: str, text: str | bytes, holds: str = "") -> Prepare:
    """A file of the project. holds: said of it in place of its text."""
    content = text.encode() if isinstance(text, str) else text

    def prepare(home: Path) -> None:
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(content)

    return Prepare(prepare, holds or code(content.decode("utf-8", "backslashreplace")))


def recorded(change: Callable[[Run], None], holds: str) -> Prepare:
    """A finished run of two rows, then something happens to it."""

    def prepare(home: Path) -> None:
        run = Run(experiments.folder(experiments.trained("tiny", "train_mmcl", 0)))
        run.start(stage="train", config={"lr": 0.1}, device="cpu")
        for epoch in range(2):
            run.append({"epoch": epoch, "accuracy": 1.0, "asr": 1.0})
        run.finish()
        change(run)

    return Prepare(prepare, holds)


def _rows(change: Callable[[list[bytes]], list[bytes]], holds: str) -> Prepare:
    def rewrite(run: Run) -> None:
        path = run.folder / "rows.jsonl"
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return recorded(rewrite, holds)


def _manifest(text: str) -> Prepare:
    holds = f"`manifest.json`: {code(text)}"
    return recorded(lambda run: (run.folder / "manifest.json").write_text(text) and None, holds)


def trigger(body: str, head: str = "images, draws") -> Prepare:
    """A plug-in with a trigger ``mine``."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return writes(
        "plugins/mine.py",
        "import torch\nfrom bdnb.poison.triggers import trigger\n\n"
        f'@trigger("mine")\ndef mine({head}):\n{lines}',
        code(f"def mine({head}):\n{lines}"),
    )


def defence(body: str, head: str = "model, pairs, setting", name: str = "mine") -> Prepare:
    """A plug-in with a defence."""
    return writes(
        "plugins/mine.py",
        f'from bdnb.defences import defence\n\n@defence("{name}")\ndef mine({head}):\n    {body}\n',
        code(f'@defence("{name}")\ndef mine({head}):\n    {body}'),
    )


def candidate(made: str) -> Prepare:
    """A plug-in with a defence of one candidate."""
    return defence(f"from bdnb.defences import Epoch; yield {made}")


def objective(body: str, hook: str = "", head: str = "batch") -> Prepare:
    """A plug-in with an objective ``mine``. hook: what its ``before_epoch`` does, if anything."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    before = f"def before(epoch, loop, batches):\n    {hook}\n\n" if hook else ""
    named = '"mine", before_epoch=before' if hook else '"mine"'
    shown = f"{before}@objective({named})\ndef mine({head}):\n{lines}"
    text = f"from bdnb.training.objectives import objective\n\n{shown}"
    return writes("plugins/mine.py", text, code(shown))


def forget() -> None:
    """Take what the plug-ins of cases have registered out again."""
    for table in (stamps.TRIGGERS, defences.DEFENCES, objectives.OBJECTIVES):
        table.pop("mine", None)
    plugins.LOADED.clear()


LOG = frozenset({"error.log"})
MINE = {"code": "plugins/mine.py"}
OWN_TRIGGER = MINE | {"trigger": "mine"}
OWN_DEFENCE = MINE | {"defence": "mine", "poisoned": "train_mmcl", "epochs": 1}
OWN_LOSS = MINE | {"loss": "mine", "poisoned": "train_mmcl", "epochs": 1}
ONE = {"poisoned": "train_mmcl"}


TWICE = """
from bdnb.poison.triggers import trigger

@trigger("mine")
def one(images, draws):
    return images.clone()

@trigger("mine")
def other(images, draws):
    return images.clone()
"""


def value(notebook: str, says: str, **given: Any) -> Case:
    """A value that cannot be."""
    return Case("values", notebook, given, says)


def before_work(notebook: str, says: str, **given: Any) -> Case:
    """What is known to be wrong without decoding an image."""
    return Case("before work starts", notebook, given, says)


def keys(text: str | bytes, says: str, **given: Any) -> Case:
    """A list of keys to poison that cannot be used."""
    given |= {"poison_keys": "keys.txt"}
    holds = "an empty file" if not text else ""
    return Case("before work starts", "train", given, says, writes("keys.txt", text, holds))


def file(says: str, text: str | bytes, name: str = "clean") -> Case:
    """A parameter file that cannot be used."""
    path = f"params/tiny/{name}.yaml"
    return Case("parameter files", "bdnb.sweep", [path], says, writes(path, text))


FOREIGN = {"poisoned": "mine.pt", "model": "rn_test", "data": "tiny"}
"""Parameters of a checkpoint from elsewhere."""


def weights(change: Callable[[dict[str, Any]], object], holds: str) -> Prepare:
    """A checkpoint from elsewhere: what is made of a small model's weights."""

    def prepare(home: Path) -> None:
        torch.save(change(models.build("rn_test", seed=5).clip.state_dict()), home / "mine.pt")

    return Prepare(prepare, holds)


SOUND = weights(lambda w: w, "a sound model's weights")
ATTACK = {"trigger": "badnet", "trigger_size": 8, "target": "banana"}


def _save_cleaned(home: Path) -> None:
    about = {"run": "clean-x", "epoch": 1, "config": {"poisoned": "train_mmcl", "study": "main"}}
    models.save_weights(models.build("rn_test", seed=5), home / "x.safetensors", about=about)


CLEANED = Prepare(_save_cleaned, "weights that a cleaning run left")


def checkpoint(says: str, prepare: Prepare | None = None, **given: Any) -> Case:
    """A checkpoint that cannot be cleaned."""
    return Case("checkpoints", "clean", FOREIGN | given, says, prepare)


UNREADABLE = r"mine\.pt: not weights that can be read safely: expected model\.state_dict\(\)"

CASES = [
    value("clean", "lr='abc': expected a number", lr="abc"),
    value("clean", r"lr=-1: expected a number above 0", lr=-1),
    value("clean", r"lr=nan: expected a finite number", lr=float("nan")),
    value("clean", r"lr='inf': expected a finite number", lr="inf"),
    value("clean", r"lr=True: expected a number", lr=True),
    value("clean", r"epochs=1.5: expected a whole number", epochs=1.5),
    value("clean", r"epochs=True: expected a whole number", epochs=True),
    value("clean", r"seed=\[0, 0\]: 0 is there twice", seed=[0, 0]),
    value("clean", r"beta1=1: expected a number below 1", beta1=1),
    value("clean", r"overlap='all': expected one of separate, authors", overlap="all"),
    value("clean", r"lr is an empty list", lr=[]),
    value("clean", r"'rate' is not a parameter", rate=1),
    value("clean", r"'lrr' is not a parameter \(did you mean 'lr'\?\)", lrr=1),
    value("clean", r"options=3: expected `name: value` pairs", options=3),
    value("clean", r"options=.*expected a name in place of 1", options={1: 2}),
    value("ablations", r"shrink='abc': expected a number", options={"shrink": "abc"}),
    value("ablations", r"shrink=5: expected a number of at most 1", options={"shrink": 5}),
    value("ablations", r"perturb=-1: expected a number of at least 0", options={"perturb": -1}),
    value("train", r"trigger 'badnet': size=8.5: expected whole pixels", trigger_size=8.5),
    value("train", r"place='edge': expected one of random", trigger_options={"place": "edge"}),
    value("clean", r"scale='\.\./\.\.': expected a name, not a path", scale="../.."),
    value("clean", r"scale='/etc': expected a name, not a path", scale="/etc"),
    value("clean", r"scale='nosuch': no such folder in params/; there is quick, tiny", scale="nosuch"),
    value("clean", r"experiment='\.\./x': expected a name", experiment="../x"),
    value("train", r"data='\.\./tiny': expected a name", data="../tiny"),
    before_work("train", r"data='nosuch': no params/nosuch/data.yaml", data="nosuch"),
    before_work("train", r"target='bananas': tiny has 6 classes, not this one; near it: 'banana'", target="bananas"),
    before_work("train", r"trigger size 100 pixels: larger than the images, 32 x 32", trigger_size=100),
    before_work("train", r"pairs=1000000000: tiny has 96", pairs=10**9),
    before_work("train", r"poison_count=97: above the 96 pairs", poison_count=97),
    before_work("train", r"batch_size=97: above the 96 pairs", batch_size=97),
    before_work("train", r"init='/nope': no such checkpoint", init="/nope"),
    before_work("train", r"poison_rate=1e-05: less than one of the 96 pairs", poison_rate=1e-5),
    before_work("train", r"/nope: no such file; expected a list of keys", poison_keys="/nope"),
    keys("", r"poison_keys='keys.txt': 0 keys there; expected one a line"),
    keys(b"caf\xe9\n", r"keys\.txt: not UTF-8"),
    keys("nosuch\n", r"keys\.txt: 1 of 1 keys are not among the pairs to train on, first 'nosuch'"),
    keys("train0000001\n", r"keys\.txt: 1 of 1 keys are not among the pairs to train on, first 'train0000001'", pairs=40),
    keys("train0000001\n", r"poison_keys='keys.txt': attack='none' poisons no pair", attack="none"),
    keys("train0000001\n", r"poison_keys='keys.txt': 1 keys there, but poison_count=9", poison_count=9),
    before_work("train", r"retrieval=49: 48 clean pairs, of which 0 clean the model", retrieval=49),
    before_work("train", r"poison_count=90: 90 pairs to poison, but of tiny's 96 captions \d+ mention 'banana'", attack="label_consistent", poison_count=90),
    before_work("clean", r"retrieval=9: 48 clean pairs, of which 40 clean the model", pairs=40, retrieval=9),
    before_work("clean", r"loss='mcl': expected one of mmcl, .*did you mean 'mmcl'\?", loss="mcl"),
    before_work("clean", r"loss='siglip': expected one of", loss="siglip"),
    before_work("train", r"objective='mcl': expected one of .*siglip.*did you mean 'mmcl'\?", objective="mcl"),
    before_work("train", r"objective 'roclip': pool=0: expected a number of at least 1", objective="roclip", loss_options={"pool": 0}),
    before_work("clean", r"pairs=49: tiny has 48", pairs=49),
    before_work("clean", r"poisons=49: above the 48 pairs", poisons=49),
    before_work("clean", r"target='nosuch': tiny has 6 classes", target="nosuch"),
    before_work("clean", r"trigger size 33 pixels: larger than the images", trigger_size=33),
    before_work("clean", r"poisoned='nosuch': no such checkpoint", poisoned="nosuch"),
    Case(
        "before work starts",
        "clean",
        {"poisoned": "mine.safetensors", "model": "rn_test"},
        r"mine\.safetensors: not a safetensors file",
        writes("mine.safetensors", b"text"),
    ),
    file(r"clean\.yaml, line 4: .*'lr' is there already in line 3", "scale: tiny\nexperiment: clean\nlr: 1\nlr: 2\n"),
    file(r"clean\.yaml, line 2: not UTF-8", b"scale: tiny\nstudy: caf\xe9\n"),
    file(r"clean\.yaml, line 1: .*contains itself", "options: &x {a: *x}\n"),
    file(r"clean\.yaml, line 3: not YAML", "scale: tiny\nlr: [1\n"),
    file(r"clean\.yaml, line 1: not YAML.*could not determine a constructor", "a: !!python/object/apply:os.getcwd []"),
    file(r"clean\.yaml, line 1: .*expected a name before the colon, found '1'", "1: 2\n"),
    file(r"clean\.yaml: expected lines of `name: value`, found list", "- a\n"),
    file(r"clean\.yaml: base='\.\./x': expected a name, not a path", "base: ../x\n"),
    file(r"mine\.yaml: no experiment by its name.*train_, clean_", "lr: 1\n", "mine"),
    Case("parameter files", "bdnb.sweep", ["params/tiny/gone.yaml"], r"gone\.yaml: no such file"),
    Case("parameter files", "bdnb.sweep", ["elsewhere/x.yaml"], r"expected a file params/SCALE/"),
    Case("commands", "bdnb.sweep", ["params/tiny/clean.yaml", "--only", "x"], r"no such run"),
    Case("commands", "bdnb.plan", ["nosuch"], r"scale='nosuch': no such folder.*there is quick, tiny"),
    Case("commands", "bdnb.plan", ["only_data"], r"only_data/ has no experiments; there is quick, tiny$", writes("params/only_data/data.yaml", "name: x\n")),
    Case("commands", "bdnb.train", ["--params", "params/tiny/clean.yaml"], r"clean\.yaml: not of this stage"),
    Case("commands", "bdnb.clean", ["--params", "params/tiny/train_mmcl.yaml"], r"not of this stage"),
    Case("commands", "bdnb.train", ["--params", "params/tiny/train_x.yaml"], r"target='bananas': tiny has 6 classes", writes("params/tiny/train_x.yaml", "base: train_mmcl\ntarget: bananas\n")),
    Case("commands", "bdnb.clean", ["--params", "params/tiny/clean_x.yaml"], r"pairs=49: tiny has 48", writes("params/tiny/clean_x.yaml", "base: clean\npairs: 49\n")),
    Case("commands", "bdnb.runs.shipped", ["pack", "nosuch"], r"scale='nosuch'"),
    Case("commands", "bdnb.data.web", ["--list", "x.tsv", "--out", "o", "--threads", "0"], r"threads='0': expected a number of at least 1"),
    Case("records", "records", {"runs": "nosuch"}, r"nosuch: no such folder"),
    Case("records", "bdnb.sweep", ["params/tiny/train_mmcl.yaml"], r"rows\.jsonl: 1 rows, where 2 were recorded: restore that file, or remove", _rows(lambda lines: lines[:1], "the last line of `rows.jsonl` is lost"), LOG),
    Case("records", "bdnb.sweep", ["params/tiny/train_mmcl.yaml"], r"rows\.jsonl: 0 rows, where 2", recorded(lambda run: (run.folder / "rows.jsonl").unlink(), "`rows.jsonl` is gone"), LOG),
    Case("records", "bdnb.sweep", ["params/tiny/train_mmcl.yaml"], r"rows\.jsonl: other rows than", _rows(lambda lines: [b'{"epoch": 7}\n', lines[1]], "the first line of `rows.jsonl` is another"), LOG),
    Case("records", "bdnb.sweep", ["params/tiny/train_mmcl.yaml"], r"manifest\.json: damaged", _manifest('{"run": '), LOG),
    Case("records", "bdnb.sweep", ["params/tiny/train_mmcl.yaml"], r"manifest\.json: damaged", _manifest("[]"), LOG),
    checkpoint(UNREADABLE, weights(lambda w: list(w.values()), "a list of tensors")),
    checkpoint(UNREADABLE, weights(lambda w: models.build("rn_test", seed=5).clip, "a whole model, pickled")),
    checkpoint(UNREADABLE, weights(lambda w: {"model": w | {"epoch": 3}}, "a number among the weights")),
    checkpoint(UNREADABLE, weights(lambda w: {}, "no weights")),
    checkpoint(UNREADABLE, writes("mine.pt", b"PK\x05\x06" + bytes(18), "an empty zip archive")),
    checkpoint(UNREADABLE, writes("mine.pt", b"", "an empty file")),
    checkpoint(r"of another model than rn_test: .*proj.* is missing", weights(lambda w: {k: v for k, v in w.items() if "proj" not in k}, "no projections")),
    checkpoint(r"mine\.pt: \d+ weights are not finite numbers, positional_embedding the first", weights(lambda w: {k: v * float("nan") for k, v in w.items()}, "every weight is NaN")),
    checkpoint(r"mine\.pt: from elsewhere: say which open_clip model", SOUND, model=None),
    checkpoint(r"say which data set to clean and measure it on: -p data", SOUND, data=None),
    checkpoint(r"pairs=49: tiny has 48", SOUND, pairs=49),
    checkpoint(r"batch_size=49: above the 48 pairs", SOUND, batch_size=49),
    checkpoint(r"poisons=49: above the 48 pairs", SOUND, **ATTACK, poisons=49),
    checkpoint(r"retrieval=1: 48 clean pairs, of which 48 clean the model", SOUND, retrieval=1),
    checkpoint(r"target='bananas': tiny has 6 classes, not this one; near it: 'banana'", SOUND, target="bananas"),
    checkpoint(r"trigger size 33 pixels: larger than the images, 32 x 32", SOUND, trigger_size=33),
    checkpoint(r"pairs=49: tiny has 48", poisoned="RN50-quickgelu:yfcc15m", model=None, pairs=49),
    checkpoint(r"RN50:nosuch: open_clip has .*yfcc15m", poisoned="RN50:nosuch", model=None),
    checkpoint(r"RN50:openai: weights for QuickGELU, .*give RN50-quickgelu in its place", poisoned="RN50:openai", model=None),
    checkpoint(r"poisoned='RN50:yfcc15m': give model='RN50', not 'rn_test'", poisoned="RN50:yfcc15m"),
    checkpoint(r"params/tiny/clean\.yaml: trains no model: expected a training experiment: train_mmcl, train_mmcl_ssl", poisoned="clean"),
    checkpoint(r"x\.safetensors: weights of a cleaning run: expected those of a training run", CLEANED, poisoned="x.safetensors", model=None),
    Case("plug-ins", "train", MINE, r"code='plugins/mine\.py': no such file"),
    Case("plug-ins", "train", {"code": "../mine.py"}, r"code='\.\./mine\.py': .*in the project's folder"),
    Case("plug-ins", "train", MINE, r"plugins/mine\.py:1: SyntaxError", writes("plugins/mine.py", "def (:\n")),
    Case("plug-ins", "train", MINE, r"plugins/mine\.py:2: ZeroDivisionError", writes("plugins/mine.py", "x = 1\nx / 0\n")),
    Case("plug-ins", "train", MINE, r"plugins/mine\.py:2: SystemExit: 0", writes("plugins/mine.py", "import sys\nsys.exit(0)\n")),
    Case("plug-ins", "train", OWN_TRIGGER, r"mine\.py:4: trigger 'mine': default level='x': expected a whole number", trigger("return images", "images, draws, *, level: int = 'x'")),
    Case("plug-ins", "train", OWN_TRIGGER | {"trigger_options": {"level": "abc"}}, r"level='abc': expected a whole number", trigger("return images.clone()", "images, draws, *, level: int = 1")),
    Case("plug-ins", "train", OWN_TRIGGER, r"expected \(images, draws, \*, option=default", trigger("return images", "images, draws, level")),
    Case("plug-ins", "train", OWN_TRIGGER, r"expected \(images, draws, \*, option=default", trigger("return images", "images, draws, *, level")),
    Case("plug-ins", "train", OWN_TRIGGER, r"mine\.py:4: trigger 'mine' changes the images", trigger("images[:] = 7\nreturn images")),
    Case("plug-ins", "train", OWN_TRIGGER, r"mine\.py:4: trigger 'mine' returned torch.float32", trigger("return images.float()")),
    Case("plug-ins", "train", OWN_TRIGGER, r"returned torch.uint8 \(2, 3, 1, 1\)", trigger("return images[:, :, :1, :1]")),
    Case("plug-ins", "train", OWN_TRIGGER, r"mine\.py:4: trigger 'mine' returned NoneType", trigger("pass")),
    Case("plug-ins", "train", OWN_TRIGGER, r"makes other images of the same draws", trigger("return torch.randint_like(images, 255)")),
    Case("plug-ins", "train", OWN_TRIGGER, r"makes other images of the same draws", trigger("return (images * torch.rand(1)).byte()")),
    Case("plug-ins", "train", OWN_TRIGGER, r"mine\.py:4: trigger 'mine' changes the images", trigger("return images.div_(2, rounding_mode='floor')")),
    Case("plug-ins", "train", OWN_TRIGGER, r"returned torch.uint8 \(1, 3, 32, 32\): expected torch.uint8 \(2, 3, 32, 32\)", trigger("return images[:1].clone()")),
    Case("plug-ins", "train", OWN_TRIGGER, r"plugins/mine\.py:6: ValueError: boom", trigger("raise ValueError('boom')")),
    Case("plug-ins", "train", OWN_TRIGGER, r"mine\.py:\d+: trigger 'mine' is there already", writes("plugins/mine.py", TWICE)),
    Case("plug-ins", "clean", OWN_DEFENCE, r"mine\.py:3: defence 'a/b': expected a name of letters", defence("yield", name="a/b")),
    Case("plug-ins", "clean", OWN_DEFENCE, r"expected \(model, pairs, setting, \*, option=default", defence("yield", "model, pairs, setting, *, alpha")),
    Case("plug-ins", "clean", OWN_DEFENCE | {"options": {"alpha": 1}}, r"defence 'mine': no option 'alpha'", defence("yield")),
    Case("plug-ins", "clean", OWN_LOSS, r"mine\.py:6: objective 'mine': before_epoch: got an unexpected keyword argument 'share'", objective("return {}", "pass", "batch, *, share: float = 1.0")),
]  # fmt: skip
"""Refused in the first cell, or by a command: nothing is written."""

BEGUN = [
    Case("plug-ins", "run", OWN_DEFENCE, r"mine\.py:3: defence 'mine' yielded nothing", defence("yield from ()")),
    Case("plug-ins", "run", OWN_DEFENCE, r"mine\.py:3: defence 'mine' returned NoneType", defence("pass")),
    Case("plug-ins", "run", OWN_DEFENCE, r"mine\.py:3: defence 'mine' yielded 3: expected Epoch", defence("yield 3")),
    Case("plug-ins", "run", OWN_DEFENCE, r"yielded Model: expected Epoch\(number", defence("yield model")),
    Case("plug-ins", "run", OWN_DEFENCE, r"yielded number 0: expected Epoch\(number, model, stats\), numbers from 1 up", candidate("Epoch(0, model, {})")),
    Case("plug-ins", "run", OWN_DEFENCE, r"mine\.py:3: defence 'mine' yielded a CLIP as the model", candidate("Epoch(1, model.clip, {})")),
    Case("plug-ins", "run", OWN_DEFENCE, r"yielded stats mean='low' \(no plain numbers\)", candidate("Epoch(1, model, {'mean': 'low'})")),
    Case("plug-ins", "run", OWN_DEFENCE, r"yielded stats loss=0.5, lr=0.1 \(names of parameters or", candidate("Epoch(1, model, {'loss': 0.5, 'mean': 0.5, 'lr': 0.1})")),
    Case("plug-ins", "run", OWN_DEFENCE, r"yielded stats asr=0.0, epoch=3, distance=1.0 \(names of", candidate("Epoch(1, model, {'asr': 0.0, 'epoch': 3, 'distance': 1.0})")),
    Case("plug-ins", "run", OWN_DEFENCE, r"yielded stats \{3: 0.1\}: expected", candidate("Epoch(1, model, {3: 0.1})")),
    Case("plug-ins", "run", OWN_DEFENCE, r"plugins/mine\.py:5: ValueError: boom", defence("raise ValueError('boom')")),
    Case("plug-ins", "run", OWN_DEFENCE, r"plugins/mine\.py:5: SystemExit: 0", defence("import sys; sys.exit(0)")),
    Case("plug-ins", "run", OWN_LOSS, r"mine\.py:3: objective 'mine' returned NoneType: expected its terms by name", objective("pass")),
    Case("plug-ins", "run", OWN_LOSS, r"objective 'mine' returned x=1.0: expected", objective("return {'x': 1.0}")),
    Case("plug-ins", "run", OWN_LOSS, r"objective 'mine' returned x of shape \(16,\)", objective("return {'x': batch.image.sum(dim=1)}")),
    Case("plug-ins", "run", OWN_LOSS, r"objective 'mine' returned x without a gradient", objective("return {'x': batch.image.detach().sum()}")),
    Case("plug-ins", "run", OWN_LOSS, r"returned a term named 'total' \(that name is taken\)", objective("return {'x': batch.image.sum(), 'total': 0 * batch.image.sum()}")),
    Case("plug-ins", "run", OWN_LOSS, r"returned a term named 'options'", objective("return {'options': batch.image.sum()}")),
    Case("plug-ins", "run", OWN_LOSS, r"plugins/mine\.py:5: ValueError: boom", objective("raise ValueError('boom')")),
    Case("plug-ins", "run", OWN_LOSS, r"plugins/mine\.py:5: SystemExit: 0", objective("import sys; sys.exit(0)")),
    Case("plug-ins", "run", OWN_LOSS, r"objective 'mine': plugins/mine\.py:4: ValueError: boom", objective("return {'x': batch.image.sum()}", "raise ValueError('boom')")),
    Case("plug-ins", "run", OWN_LOSS, r"objective 'mine': kept share=0.5: expected a tensor", objective("return {'x': batch.image.sum()}", "loop.kept['share'] = 0.5")),
]  # fmt: skip
"""Known only once a run is under way: it is left unfinished."""
