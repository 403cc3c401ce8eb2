"""``flagpost senders``: paying addresses of ours that are frozen or stuck, and their release."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from pipeline.admin import senders
from pipeline.cli.acting import JsonOption, run_action
from pipeline.cli.output import age, err, out, print_json, print_table
from pipeline.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Paying addresses that are frozen or stuck: list, release.")


@app.command("list")
def list_waiting(as_json: JsonOption = False) -> None:
    """List addresses of ours that pay nothing for now, and why: frozen, stuck, or being reconciled with the chain.

    Example: [bold]flagpost senders list[/]
    """
    found = run_action(Settings.load(), "senders list", senders.waiting)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        err.print("every sender may pay")
        return
    print_table(
        ("chain", "sender", "since", "why"),
        [(escape(one.chain), escape(one.sender), age(one.since), escape(one.reason)) for one in found],
    )


@app.command()
def release(
    chain: Annotated[str, typer.Argument(help="Name of the chain.")],
    sender: Annotated[str, typer.Argument(help="Its address, as `flagpost senders list` prints it.")],
    last_nonce: Annotated[
        int | None, typer.Option(min=0, help="The highest nonce you have checked; nothing is stated of higher ones.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let a sender pay again, once you have checked its transactions in a block explorer.

    By this you state that nothing of ours used the nonces that are listed as unexplained: payments that have them are
    decided anew, and paid a second time if you are wrong.

    Example: [bold]flagpost senders release bsc 0x9858EfFD232B4033E47d90003D41EC34EcaEda94 --last-nonce 41[/]
    """
    reason = run_action(
        Settings.load(),
        "senders release",
        lambda connection: senders.release(connection, chain, sender, last_nonce=last_nonce),
    )
    if as_json:
        print_json({"chain": chain, "sender": sender, "was": reason})
    else:
        out.print(f"{escape(sender)} on {escape(chain)} may pay again; it waited because: {escape(reason)}")
