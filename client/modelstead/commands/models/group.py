"""`modelstead models`: registered models as people look at them, over REST. To move versions is `modelstead model`."""

import typer

from modelstead.commands.models import ls, show

app = typer.Typer(
    help="List and show registered models; `model` moves their versions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for _command in (ls.ls, show.show):
    app.command()(_command)
