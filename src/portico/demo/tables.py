"""Tables of a reconciliation."""

from collections import Counter, defaultdict

from rich.table import Table
from rich.text import Text

from portico.demo.invariants import ShopRecords
from portico.demo.shelf import CURRENCY

_GOOD, _BAD, _UNKNOWN = Text("✓", style="green"), Text("✗", style="bold red"), Text("-", style="dim")


def orders_table(records: ShopRecords) -> Table:
    """Return the number and total of orders by status and failure reason."""
    table = Table(title="Orders by state", title_justify="left", box=None, padding=(0, 2), header_style="dim")
    table.add_column("state")
    for column in ("orders", CURRENCY):
        table.add_column(column, justify="right")
    numbers: Counter[str] = Counter()
    totals: defaultdict[str, float] = defaultdict(float)
    for order in records.orders:
        state = ": ".join(filter(None, (order["status"], order["failure_reason"])))
        numbers[state] += 1
        totals[state] += order["total"]
    for state in sorted(numbers):
        table.add_row(state, str(numbers[state]), f"{totals[state]:,.2f}")
    return table


def comparison_table(records: ShopRecords) -> Table:
    """Return what was compared, and whether it agrees."""
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(width=1)
    table.add_column()
    table.add_column(style="dim")
    for name, summary, mismatches in (
        ("stock", _stock(records), records.stock_mismatches()),
        ("payments", _payments(records), records.payment_mismatches()),
        ("mails", _mails(records), records.mail_mismatches()),
    ):
        table.add_row(_BAD if mismatches else _GOOD, name, summary)
    if records.dead_letters is None:
        table.add_row(_UNKNOWN, "dead letters", "not listed: the demo did not start the system")
    else:
        table.add_row(_BAD if records.dead_letters else _GOOD, "dead letters", str(len(records.dead_letters) or "none"))
    return table


def _stock(records: ShopRecords) -> str:
    entries = sum(len(each.ledger) for each in records.stock)
    on_hand, reserved = (sum(each.level[name] for each in records.stock) for name in ("on_hand", "reserved"))
    loaded = sum(each.loaded for each in records.stock)
    return (
        f"{on_hand} of {loaded} loaded units are on hand, {reserved} of them reserved:"
        f" {entries} ledger entries and the orders agree"
    )


def _payments(records: ShopRecords) -> str:
    kept = sum(records.kept().values())
    checked = {name: sum(page["checked"][name] for page in records.reconciled) for name in ("payments", "charges")}
    return (
        f"{kept:,.2f} {CURRENCY} were charged and not refunded, and the sold orders cost {records.sold_total():,.2f};"
        f" {checked['payments']} payments were compared with {checked['charges']} charges of the provider"
    )


def _mails(records: ShopRecords) -> str:
    kinds = Counter(each["template"] for each in records.mails)
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
