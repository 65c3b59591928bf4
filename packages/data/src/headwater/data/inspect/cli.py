"""`headwater data inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.core.cli_options import json_option, run_option

EXCERPT_CHARACTERS = 900


@click.command()
@run_option
@click.option("--kept", "outcomes", flag_value="kept", help="Only documents that stayed.")
@click.option("--rejected", "outcomes", flag_value="rejected", help="Only documents that were set aside.")
@click.option("--changed", "outcomes", flag_value="changed", help="Only documents that an operator changed.")
@click.option("--operator", metavar="NAME", help="The operator that set aside or changed; of kept ones, that let pass.")
@click.option("--reason", metavar="REASON", help="Of the rejection or the change; see the funnel for those there are.")
@click.option("--source", metavar="NAME")
@click.option("--host", metavar="NAME", help="Host name of the URL.")
@click.option("--language", metavar="CODE", help="ISO 639-1, as in the documents.")
@click.option("-n", "count", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Samples of a kind.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws other samples.")
@click.option("--full", is_flag=True, help="Whole texts.")
@json_option
def inspect(
    run: Path, outcomes: str | None, operator: str | None, reason: str | None, source: str | None, host: str | None,
    language: str | None, count: int, seed: int, full: bool, as_json: bool,
) -> None:  # fmt: skip
    """Show samples of what was kept, changed or set aside, with the figures and the text that decided.

    Without --kept, --rejected or --changed: some that were set aside, then some that were kept. Duplicates are shown
    beside the document that stayed. The same options give the same samples.

    \b
    Examples:
      headwater data inspect --run RUN --operator minhash_dedup --rejected
      headwater data inspect --run RUN --operator pii --changed -n 3
      headwater data inspect --run RUN --rejected --reason top_ngram --host example.org --full
    """
    from headwater.core.console import print_json
    from headwater.core.errors import DataError
    from headwater.core.layout import RunLayout
    from headwater.data.inspect import show
    from headwater.data.inspect.evidence import matched_id
    from headwater.data.inspect.select import Documents, Wanted

    layout = RunLayout(run)
    documents = Documents(layout)
    _check_names(layout.documents, operator, reason, source)
    kinds = [outcomes] if outcomes else ["rejected", *([] if reason else ["kept"])]
    most = None if full else EXCERPT_CHARACTERS
    found = {
        kind: documents.sample(Wanted(kind, operator, reason, source, host, language), count, seed)  # pyright: ignore[reportArgumentType]
        for kind in kinds
    }
    samples = [document for documents_of in found.values() for document in documents_of]
    if not samples:
        raise DataError(f"no document fits: {' or '.join(kinds)}, with what was asked for",
                        hint="ask for less, or see what there is: headwater data report")  # fmt: skip
    matches = documents.by_id({one for document in samples if (one := matched_id(document))})
    if as_json:
        print_json({kind: [show.as_json(one, matches, most) for one in some] for kind, some in found.items()})
        return
    for kind, some in found.items():
        show.show(kind, some, matches, most)


def _check_names(folder: Path, operator: str | None, reason: str | None, source: str | None) -> None:
    """Refuses names that the funnel does not know, before anything is searched for them."""
    import json

    from headwater.core.errors import DataError
    from headwater.core.storage import storage_errors

    with storage_errors("read", folder / "funnel.json"):
        funnel = json.loads((folder / "funnel.json").read_text(encoding="utf-8"))
    rows = [row for content in funnel["sources"].values() for row in content["operators"]]
    mine = [row for row in rows if operator in (None, row["operator"])]
    for what, given, known in (
        ("source", source, list(funnel["sources"])),
        ("operator", operator, list(dict.fromkeys(row["operator"] for row in rows))),
        ("reason", reason, sorted({name for row in mine for name in (*row["rejected"], *row["changed"])})),
    ):
        if given is not None and given not in known:
            raise DataError(f"the documents know no {what} {given}", expected=", ".join(known) or f"no {what}",
                            hint="headwater data report shows what each operator did")  # fmt: skip
