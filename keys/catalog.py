"""Reading keys for people: lists with a search, filters and an order, one key with its family and its history.

The catalog is bound to a tenant when it is made, and every statement starts from `_mine` or names the tenant. Programs
read pages in order of creation instead (TenantKeys), which no change meanwhile disturbs.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, case, func, select

from errors import UnknownApiKeyId
from keys import audit, family, filters, search, uses
from keys.audit import Wanted
from keys.family import Family
from keys.paging import Page
from keys.sorting import DEFAULT, order
from models import KeyRow, api_keys
from storage.database import Storage

COUNTED = 10_000  # keys that are counted at most; they are the newest
FEW = 500  # keys that a search finds and that are then named one by one
SCOPES_FROM = 200  # keys whose scopes are offered for new ones; they are the newest
USES = 30  # days whose uses are shown
FAMILY = 200  # keys of a family that are shown at most

Conditions = list[ColumnElement[bool]]  # which all hold


class Query(NamedTuple):
    words: tuple[str, ...] = ()
    status: str = ""  # a name of a filter; an unknown one lets every key pass
    sort: str = DEFAULT
    after: str = ""  # a cursor
    limit: int = 50


class Listing(NamedTuple):
    """Rows, and the cursor of the next page; None on the last page."""

    rows: Sequence[KeyRow]
    next: str | None


class Counts(NamedTuple):
    """The numbers of keys by filter. `more`: there are more than COUNTED keys, and so at least these numbers."""

    numbers: dict[str, int]
    more: bool


class Attention(NamedTuple):
    """Where something is to do: the number of keys in use that expire soon, the first of them, and keys in grace."""

    expiring: int
    first: KeyRow | None
    in_grace: Sequence[KeyRow]


class Catalog:
    def __init__(self, storage: Storage, tenant: str) -> None:
        self._storage = storage
        self._tenant = tenant
        self._mine: Select[Any] = select(api_keys).where(api_keys.c.tenant == tenant)
        # For keys that are looked up by their ids: with the bare column SQLite would read all keys of the tenant.
        self._mine_by_id: Select[Any] = select(api_keys).where(func.coalesce(api_keys.c.tenant, "") == tenant)

    def find(self, query: Query) -> Listing:
        """A page of keys. Following `next` shows every key of an unchanging set once."""
        return self._find(query, self._contain(query.words))

    def counts(self, words: Sequence[str] = ()) -> Counts:
        """How many keys with these words each filter lets pass, among the newest ones."""
        return self._counts(self._contain(words))

    def find_and_count(self, query: Query) -> tuple[Listing, Counts]:
        """Both at once: a search that has to read every key reads them once."""
        matching = self._matching(query.words)
        return self._find(query, matching), self._counts(matching)

    def _find(self, query: Query, matching: Conditions) -> Listing:
        wanted = self._mine.where(filters.conditions().get(query.status, filters.conditions()[""]), *matching)
        chosen = order(query.sort)
        rows = self._rows(chosen.sort(wanted, query.after).limit(query.limit + 1))
        shown = rows[: query.limit]
        return Listing(shown, chosen.cursor(shown[-1]) if len(rows) > len(shown) else None)

    def _counts(self, matching: Conditions) -> Counts:
        flags = {name: case((condition, 1), else_=0) for name, condition in filters.conditions().items() if name}
        columns = [flag.label(name) for name, flag in flags.items()]
        newest = self._mine.with_only_columns(api_keys.c.seq, *columns).where(*matching)
        among = newest.order_by(api_keys.c.seq.desc()).limit(COUNTED + 1).subquery()
        sums = [func.coalesce(func.sum(among.c[name]), 0).label(name) for name in flags]
        row = self._storage.all(select(func.count().label("all"), *sums).select_from(among))[0]._mapping
        numbers = {"": min(row["all"], COUNTED), **{name: min(int(row[name]), COUNTED) for name in flags}}
        return Counts(numbers, row["all"] > COUNTED)

    def by_id(self, key_id: str) -> KeyRow:
        """Raises UnknownApiKeyId, also for a key of another tenant and for a text that is no id."""
        row = self._storage.first(self._mine.where(api_keys.c.id == key_id)) if "\0" not in key_id else None
        if row is None:
            raise UnknownApiKeyId(key_id)
        return KeyRow._make(row)

    def scopes_in_use(self, most: int = 10) -> list[str]:
        """The scopes that most of the newest keys have, in order of the alphabet."""
        newest = self._mine.with_only_columns(api_keys.c.scopes).order_by(api_keys.c.seq.desc()).limit(SCOPES_FROM)
        found = Counter(scope for row in self._storage.all(newest) for scope in row.scopes.split())
        return sorted(scope for scope, _ in found.most_common(most))

    def attention(self, most: int = 3) -> Attention:
        """`most` is how many keys in their grace are named."""
        expiring = self._mine.where(filters.needs_attention())
        number = self._storage.first(expiring.with_only_columns(func.count()))
        first = self._rows(expiring.order_by(api_keys.c.expires_at, api_keys.c.seq).limit(1))
        grace = self._mine.where(filters.in_grace()).order_by(api_keys.c.previous_until, api_keys.c.seq).limit(most)
        return Attention(number[0] if number else 0, first[0] if first else None, self._rows(grace))

    def family(self, key_id: str, most: int = FAMILY) -> Family:
        """The living offspring of a key, also below deleted keys."""
        return family.family_of(self._storage, self._mine_by_id, key_id, most)

    def uses(self, key_ids: Sequence[str], days: int = USES) -> dict[str, list[int]]:
        """How often each of these keys was used, a number a day, the last one for today."""
        return uses.by_day(self._storage, self._mine_by_id, key_ids, days)

    def names(self, ids: Sequence[str]) -> dict[str, str]:
        """The names of those of the keys that live, by id."""
        living = self._mine_by_id.with_only_columns(api_keys.c.id, api_keys.c.name).where(api_keys.c.id.in_(set(ids)))
        return {row.id: row.name for row in self._storage.all(living)} if ids else {}

    def history(self, limit: int, *, key_id: str = "", action: str = "", before: int | None = None) -> Page[Row[Any]]:
        """Audit entries, newest first: all, or those of one key, which may be gone, or of one action."""
        return audit.page(self._storage, self._tenant, limit, before, Wanted(action, key_id=key_id))

    def _matching(self, words: Sequence[str]) -> Conditions:
        """The keys with these words by their numbers, unless there are so many that a search soon has enough."""
        if not words:
            return []
        found = self._mine.with_only_columns(api_keys.c.seq).where(*self._contain(words))
        numbers = [row.seq for row in self._storage.all(found.order_by(api_keys.c.seq.desc()).limit(FEW + 1))]
        return self._contain(words) if len(numbers) > FEW else [api_keys.c.seq.in_(numbers)]

    def _contain(self, words: Sequence[str]) -> Conditions:
        return search.contains(words, self._storage.ascii_lower)

    def _rows(self, statement: Select[Any]) -> list[KeyRow]:
        return [KeyRow._make(row) for row in self._storage.all(statement)]
