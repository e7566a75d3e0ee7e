"""`modelstead runs`: runs as people look at them, over REST."""

import typer

from modelstead.commands.runs import compare, ls, show, watch

app = typer.Typer(help="List, show, compare and watch runs.", no_args_is_help=True, rich_markup_mode=None)
for _command in (ls.ls, show.show, compare.compare, watch.watch):
    app.command()(_command)
