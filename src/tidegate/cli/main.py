"""The `tidegate` command's entry: names the commands, turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from tidegate.cli.app import CONTEXT, LazyGroup, common_options, remember
from tidegate.errors import EXIT_DONE, EXIT_FAILED, EXIT_WRONG_USE, TidegateError
from tidegate.version import __version__

EXIT_INTERRUPTED = 130

COMMANDS = {
    "up": ("platform.processes", "up", "Start the platform on this machine."),
    "down": ("platform.processes", "down", "Stop the platform."),
    "demo": ("demo.demo", "demo", "Show the whole way from two models to a rollback, in under a minute."),
    "worker": ("platform.processes", "worker", "Run jobs that come over the broker."),
    "serve": ("platform.processes", "serve", "Serve one model, without a platform."),
    "register": ("models.register", "register", "Take a model in, through the validation gate."),
    "models": ("models.catalog", "models", "List, show, trust and delete models."),
    "build": ("models.build", "build", "Make a container image of a version."),
    "deploy": ("endpoints.deploy", "deploy", "Give a version all of an endpoint's traffic."),
    "endpoints": ("endpoints.show", "endpoints", "List endpoints."),
    "predict": ("predict.predict", "predict", "Predict rows through the gateway."),
    "feedback": ("feedback.feedback", "feedback", "Say what came true of predictions: labels and metrics."),
    "traffic": ("endpoints.change", "traffic", "Split an endpoint's traffic over versions."),
    "canary": ("endpoints.canary", "canary", "Look at a version that takes over in steps, and steer it."),
    "promote": ("endpoints.change", "promote", "Give one version all of the traffic."),
    "rollback": ("endpoints.change", "rollback", "Re-apply the traffic from before the current one."),
    "experiment": ("experiments.experiment", "experiment", "Compare versions on units, and promote the better one."),
    "scale": ("endpoints.scale", "scale", "Fix the replicas of each version, or follow its load."),
    "shadow": ("endpoints.shadow", "shadow", "Have a version answer a copy of the traffic, and compare."),
    "delete": ("endpoints.change", "delete", "Remove an endpoint."),
    "apply": ("endpoints.apply", "apply", "Make endpoints as a file says."),
    "export": ("endpoints.apply", "export", "Write endpoints as a file."),
    "monitor": ("watching.monitor", "monitor", "Watch drift, quality and performance of an endpoint."),
    "capture": ("capture.query", "capture", "Show or save captured predictions, by SQL."),
    "capture-import": ("watching.capture_import", "capture_import", "Make captured rows of a file."),
    "capture-settings": ("capture.settings", "capture_settings", "Show or set what is recorded, and for how long."),
    "capture-forget": ("capture.settings", "capture_forget", "Delete what was captured of one unit."),
    "baseline": ("watching.baseline", "baseline", "Show or set what a version's data is compared with."),
    "alerts": ("watching.alerts", "alerts", "List alerts, acknowledge and silence them."),
    "alert-rules": ("watching.alert_rules", "alert_rules", "Say when results become alerts, and what is done."),
    "notifiers": ("watching.notifiers", "notifiers", "Say who is told of alerts."),
    "console": ("platform.console", "console", "Open the console in the browser, logged in."),
    "status": ("endpoints.show", "status", "Show the platform, or one endpoint."),
    "history": ("endpoints.show", "history", "Show the changes of an endpoint, also of one that is gone."),
    "logs": ("endpoints.logs", "logs", "Show the last lines of an endpoint's replicas, and follow them."),
    "jobs": ("platform.jobs", "jobs", "List jobs, show one, or cancel it."),
    "audit": ("platform.audit", "audit", "Show who changed what."),
    "doctor": ("platform.doctor", "doctor", "Check every configured part, and say what to do."),
    "db": ("platform.db", "db", "Upgrade, check, back up and restore the database."),
    "version": ("endpoints.show", "version", "Show the version of Tidegate."),
}


@click.group(cls=LazyGroup, context_settings=CONTEXT, params=common_options())
@click.version_option(__version__, prog_name="tidegate")
@click.pass_context
def root(ctx: click.Context, json_: bool, data_dir: Path | None, url: str | None) -> None:
    """Take trained models into production and keep them healthy there.

    'tidegate COMMAND --help' tells more about each command.
    """
    remember(ctx, json_, data_dir, url)


root.lazy = COMMANDS
root.examples = (
    "tidegate up --detach",
    "tidegate deploy model.joblib --name churn --allow-pickle",
    "tidegate predict churn --data '{\"features\": [5.1, 3.5, 1.4, 0.2]}'",
    "tidegate down",
)


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong use."""
    argv = sys.argv[1:]
    try:
        code = root.main(args=argv, prog_name="tidegate", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = EXIT_WRONG_USE
    except click.ClickException as error:
        code = _wrong_use(error, as_json="--json" in argv)
    except TidegateError as error:
        code = _failed(error, as_json="--json" in argv)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output (`| head`) has gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    except Exception as error:
        code = _unforeseen(error, as_json="--json" in argv)
    sys.exit(code if isinstance(code, int) else EXIT_DONE)


def _failed(error: TidegateError, as_json: bool) -> int:
    click.echo(f"error: {' '.join(error.message.split())}", err=True)
    if as_json:
        import orjson

        click.echo(orjson.dumps(error.body(), option=orjson.OPT_INDENT_2, default=str))
    return error.exit_code


def _wrong_use(error: click.ClickException, as_json: bool) -> int:
    ctx = getattr(error, "ctx", None)
    help_line = f"; see '{ctx.command_path} --help'" if ctx else ""
    message = error.format_message().rstrip(".")
    class_ = type("WrongUse", (TidegateError,), {"code": "wrong_use", "exit_code": EXIT_WRONG_USE})
    return _failed(class_(message[:1].lower() + message[1:] + help_line), as_json)


def _unforeseen(error: Exception, as_json: bool) -> int:
    from tidegate.settings import Settings

    if Settings.from_env().log_level == "debug":
        raise error
    what = f"{type(error).__name__}: {error}"
    return _failed(TidegateError(f"{what} (not foreseen; TIDEGATE_LOG_LEVEL=debug shows where)"), as_json)
