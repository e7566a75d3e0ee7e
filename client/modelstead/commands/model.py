"""`modelstead model`: the promotion of model versions, from a pipeline or a terminal, over REST."""

import typer

from modelstead.commands import moves, policies, releases, reports, waits

app = typer.Typer(
    help="Promote versions of registered models: ask, approve, check, release, wait.",
    epilog=(
        "Exit codes: 0 done, 1 failed, 2 usage, 3 refused by policy or permission, 4 conflict, 5 not found, "
        "6 pending, 7 unavailable."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)
for _command in (
    moves.promote,
    moves.request,
    moves.approve,
    moves.reject,
    moves.cancel,
    reports.check,
    reports.evaluate,
    reports.history,
    reports.show,
    releases.release,
    waits.wait,
):
    app.command()(_command)
app.add_typer(policies.app, name="policy")
