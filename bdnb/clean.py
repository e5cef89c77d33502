"""One cleaning run, from a backdoored model to rows (Section 3.2): Table 2 is made of these.

Backdoored model -> clean pairs -> a defence -> evaluation of every candidate -> rows.
``python -m bdnb.clean --params FILE``.
"""

from dataclasses import asdict, replace
from functools import partial
from typing import Any

from accelerate import Accelerator

from bdnb import defences, models
from bdnb.backdoored import BackdooredModel, attack, backdoored_model
from bdnb.config import authors
from bdnb.config.parameters import part
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.data import datasets
from bdnb.data.batches import Batches, Poison
from bdnb.data.shards import Pairs
from bdnb.defences import probation
from bdnb.defences.distance import from_start
from bdnb.defences.registry import Before
from bdnb.models import Model
from bdnb.poison import selection
from bdnb.runs import elsewhere, experiments, results
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError
from bdnb.train import accelerator_of, loss_of, make_all, train_here
from bdnb.training import attacks, checkpoints, checks, launch, objectives, setup
from bdnb.training.attacks import Attack
from bdnb.training.loop import Compute
from bdnb.training.optimiser import Optimiser
from bdnb.training.recording import record


def check(config: CleanConfig) -> None:
    """Refuse what can be known to be wrong before a run starts. Errors: ConfigError."""
    defences.check(config.defence, config.options, code=config.code)
    experiments.before(config)
    objectives.check(config.loss, config.loss_options, code=config.code, cleaning=True)
    found, needed = None, experiments.needs(config)
    if not needed:
        found = backdoored_model(config)
        if elsewhere.published(config.poisoned):
            models.check_published(*config.poisoned.rsplit(":", 1))
        else:
            checks.check_weights(found.weights, found.source.model)
    source = attack(config, found.source if found else needed[0])
    known = found is None or not found.foreign or not elsewhere.lacking(asdict(config))
    target = source.target if known else config.target
    models.check_name(source.model)
    about = Before(model=source.model, micro_batch=config.micro_batch)
    defences.check(config.defence, config.options, code=config.code, before=about)
    if known or config.trigger or config.trigger_size:
        checks.check_trigger(attacks.unlearnt(part(Attack, source)), source.model)
    separate = config.overlap == "separate"
    used = checks.Used(
        config.data or source.data,
        "clean" if separate else "train",
        model=source.model,
        pairs=config.pairs,
        seed=config.seed,
        bad_share=max(config.bad_share, source.bad_share),
    )
    counts = {"batch_size": config.batch_size, "poisons": config.poisons}
    checks.check_numbers(used, counts=counts, target=target)
    if config.poisons and source.attack in ("label_consistent", "mismatched"):
        asked, among = {"poisons": config.poisons}, used if separate else replace(used, pairs=0)
        victims = part(Attack, source).victims
        checks.check_mentions(among, asked, target=target, match=source.match, victims=victims)
    cleaned = (config.pairs or None) if separate else 0
    checks.check_held_out(used, count=config.retrieval, cleaned=cleaned, target=target)


def clean(config: CleanConfig) -> Run:
    """Return one cleaning run, made unless it is recorded; the runs that it needs first.

    Errors: ConfigError before any work starts; NonFiniteLoss; StorageError.
    """
    about = Before(micro_batch=config.micro_batch)
    defences.check(config.defence, config.options, code=config.code, before=about)
    objectives.check(config.loss, config.loss_options, code=config.code, cleaning=True)
    return launch.make(config, {TrainConfig: train_here, CleanConfig: clean_here})


def clean_here(config: CleanConfig, run: Run) -> None:
    """Make a run in this process, or as one of several: its parts, a defence, then rows."""
    backdoored = backdoored_model(config)
    model, source = backdoored.load(), attack(config, backdoored.source)
    unknown = backdoored.foreign and elsewhere.lacking(asdict(config))
    known = None if unknown else part(Attack, source)
    accelerator = accelerator_of(config, run)
    bad = max(config.bad_share, source.bad_share)
    data = datasets.dataset(config.data or source.data, stream=source.stream, bad_share=bad)
    loss = loss_of(config, config.loss)
    with setup.alone(run, accelerator):
        sets, benchmark = data.labelled(model.side), None
        pairs, poison, counts = cleaning_pairs(config, source, data, side=model.side)
        wanted = part(setup.Parts, config)
        batches = setup.batches(
            pairs, poison, wanted, model, accelerator, second_views=loss.second_views
        )
        if accelerator.is_main_process:
            taken = (config.pairs or None) if config.overlap == "separate" else 0
            benchmark = setup.benchmark(data, known, wanted, side=model.side, used=taken)
        resumed = config.optimiser == "authors"
        adam = checkpoints.optimiser_state(backdoored.weights) if resumed else None
        options, picked = defence_options(config)
        ahead = Before(model=model.name, micro_batch=config.micro_batch)
        defence = defences.check(config.defence, options, code=config.code, before=ahead)
        used = None
        if defence.__module__.startswith("bdnb."):  # another may look at all of the weights
            used = setup.used_tokens(batches, data, wanted, model)
        setting = defences.Setting(
            accelerator=accelerator,
            loss=loss,
            optimiser=part(Optimiser, config),
            compute=part(Compute, config),
            epochs=config.epochs,
            seed=config.seed,
            state=run.state,
            save_every=config.save_every,
            adam=adam,
            used=used,
            classnames=tuple(sets[0].classnames),
            scale=config.scale,
            training=partial(training_batches, config, backdoored, data, model, accelerator),
            benchmark=benchmark,
            code=config.code,
        )
        about = counts | setup.dropped(run, pairs, sets) | {"from": backdoored.origin}
        foreign = elsewhere.ELSEWHERE if backdoored.foreign else ""
        about |= {"pretrain_objective": foreign or source.objective, "data": data.folder.name}
        about |= {name: getattr(known, name, "") for name in ("target", "trigger")}
        model.to(accelerator.device)
        candidates = probation.candidates(
            config.defence, model, batches, setting, options, taken=run.taken
        )
        record(
            run,
            from_start(model, candidates),
            benchmark,
            stage="clean",
            config=asdict(config),
            model=model,
            accelerator=accelerator,
            about=about | picked,
            checkpoints=config.checkpoints,
        )


def defence_options(config: CleanConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the defence, and for the manifest those that ``pick`` found.

    Errors: ConfigError when no screened model can be picked.
    """
    theirs = authors.DEFENCES.get(config.defence, {}) if config.fidelity == "authors" else {}
    picked = results.picked(config) if config.pick else {}
    options = {**picked, **theirs, **config.options}
    return options, {f"picked_{k}": v for k, v in options.items()} if config.pick else {}


def cleaning_pairs(
    config: CleanConfig, source: TrainConfig, data: datasets.Dataset, *, side: int
) -> tuple[Pairs, Poison, dict[str, Any]]:
    """Return the pairs to clean with, the poison left in them, and counts of both."""
    given = part(Attack, source)
    train_pairs = data.training_pairs(side, seed=source.seed, count=source.pairs)
    clean_pairs = data.pairs("clean", side)
    keys = selection.cleaning_keys(
        train_pairs.keys,
        clean_pairs.keys,
        attacks.poisoned_keys(given, train_pairs),
        seed=config.seed,
        count=config.pairs,
        overlap=config.overlap,
    )
    from_training = config.overlap == "authors"
    chosen = datasets.subset(train_pairs if from_training else clean_pairs, keys)
    left = selection.select(
        chosen.keys,
        chosen.captions,
        seed=config.seed,
        count=config.poisons,
        attack="template" if source.attack == "none" else source.attack,
        target=source.target,
        victims=given.victims,
        match=source.match,
    )
    split, trigger = "train" if from_training else "clean", attacks.stamp(given)
    resized = attacks.as_attacker_resizes(given, data, split, side=side)
    natural = attacks.natural_captions(given, train_pairs) if left else []
    poison = attacks.poisoned(
        trigger, chosen, left, target=given.new_caption, natural=natural, resized=resized
    )
    # Two downloads may number different pairs alike: a pair is shared if its caption is, too.
    places = datasets.places_of(train_pairs, chosen.keys)
    trained_on = {(key, train_pairs.captions[place]) for key, place in places.items()}
    shared = len(trained_on & set(zip(chosen.keys, chosen.captions, strict=True)))
    return chosen, poison, {"cleaning_pairs": len(chosen.keys), "overlap_with_training": shared}


def training_batches(
    config: CleanConfig,
    backdoored: BackdooredModel,
    data: datasets.Dataset,
    model: Model,
    handle: Accelerator,
) -> Batches:
    """Return the pairs that a model was trained on, poison included, in the run's batches.

    Errors: ConfigError where nobody said what they are.
    """
    if backdoored.foreign:
        raise ConfigError(f"{elsewhere.WORDS}: nobody said what pairs it was trained on")
    source = backdoored.source
    given = part(Attack, source)
    pairs = data.training_pairs(model.side, seed=source.seed, count=source.pairs)
    resized = attacks.as_attacker_resizes(given, data, "train", side=model.side)
    poison = attacks.poison(given, pairs, resized=resized)
    second_views = loss_of(config, config.loss).second_views
    wanted = part(setup.Parts, config)
    return setup.batches(pairs, poison, wanted, model, handle, second_views=second_views)


def main() -> None:
    """Every run of a parameter file: ``python -m bdnb.clean --params FILE``."""
    make_all("bdnb.clean", CleanConfig, clean, check)


if __name__ == "__main__":
    main()
