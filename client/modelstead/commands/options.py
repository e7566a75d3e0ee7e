"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(metavar="NAME", help="The registered model.", show_default=False)]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="The version's number.", show_default=False)]
Stage = Annotated[
    str, typer.Argument(metavar="STAGE", help="A stage, or @ and an alias: Production, @champion.", show_default=False)
]
Comment = Annotated[str | None, typer.Option(help="Why; kept with what happens.", show_default=False)]
IfStage = Annotated[
    str | None,
    typer.Option("--if-stage", help="Only if the version is in this stage; else exit code 4.", show_default=False),
]
IfVersion = Annotated[
    str | None,
    typer.Option(
        "--if-version",
        help="Only if this version is the newest in STAGE, or the alias points at it; '' is none. Else exit code 4.",
        show_default=False,
    ),
]
Archive = Annotated[bool, typer.Option("--archive", help="Archive the other versions that are in STAGE.")]
Uri = Annotated[
    str | None,
    typer.Option("--uri", help="Address of the platform. Default: MLFLOW_TRACKING_URI.", show_default=False),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File with the key to call with. Default: MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")]
PageToken = Annotated[
    str | None,
    typer.Option("--page-token", metavar="TOKEN", help="Go on where the same command stopped.", show_default=False),
]
Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Its id, the beginning of its id, or its name.", show_default=False),
]
Experiment = Annotated[
    str | None,
    typer.Option("--experiment", "-e", help="Look for the run in this experiment only.", show_default=False),
]
