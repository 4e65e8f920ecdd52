"""Queries that nobody should ask: README's, mutated, and statements that try to leave the store or to change it."""

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
from fuzz import Trial
from fuzz_words import word
from summary_store import RUNS, build

from xvcore.errors import XvError
from xvcore.query import answer
from xvcore.query.cells import as_text
from xvcore.store import SCHEMAS, Store

MARK = "kestrel-7391"
"""Stands in every file beside the store: what shows it has been read."""
QUESTIONS = (
    "select model, count(*) summaries from clusters where accepted group by model",
    "select model, count(*) from clusters where accepted group by 1",
    "select model, avg(n_summaries) from class_runs join classes using (class_id) where status = 'complete' group by all",
    "select class_name, prob_target from predictions join class_runs using (run_id, class_id) order by prob_target desc limit 5",
    "select a.image_id, a.area_frac - b.area_frac from masks a join masks b using (image_id, kind) where a.model < b.model",
    "with best as (select run_id, max(score) as top from clusters group by all) select * from best join runs using (run_id)",
    "select rle.size, rle.counts, soft_map from masks where kind = 'sharp'",
    "select region_i, region_j, score from similarity where score > .5 and region_i = 2",
    "from regions select image_id, x + w as right_edge, crop where is_exemplar",
    "select json_extract(params, '$.seed'), class_ids, created_at from runs",
    "pivot clusters on accepted using count(*) group by model",
    "unpivot (select n_images, n_clusters from class_runs) on columns(*)",
    "describe masks",
    "summarize clusters",
    "show tables",
    "explain select 1",
    "values (1, 'a'), (2, null)",
    "select list(score order by score), {'a': 1, 'b': [1, 2]}, map {'x': 1}, interval 3 months, now()::date, 1::hugeint from similarity",
    "select uuid(), '101'::bit, time '10:00', 1.5::decimal(9, 3), union_value(k := 1), 'a'::enum('a', 'b'), 'x'::blob",
    "select * exclude (crop) replace (x * 2 as x) from regions qualify row_number() over (partition by class_id order by w) = 1",
)
"""What README, pages and users ask."""
LEAVING = (
    *(f"from {reads}('PLACE')" for reads in ("read_csv", "read_csv_auto", "read_text", "read_blob", "read_json", "read_parquet")),
    *(f"from {reads}('PLACE')" for reads in ("parquet_scan", "parquet_metadata", "parquet_schema", "parquet_kv_metadata", "sniff_csv", "glob", "read_ndjson", "read_json_objects", "parquet_file_metadata", "read_duckdb", "st_read", "read_xlsx", "iceberg_scan", "delta_scan", "postgres_scan", "mysql_scan")),
    *("from 'PLACE'", "select * from \"PLACE\"", "from ['PLACE', 'PLACE']", "from read_csv(['PLACE'], header = false)", "from sqlite_scan('PLACE', 't')"),
    *("copy (select 1) to 'NEW'", "copy clusters to 'NEW' (format parquet)", "copy clusters from 'PLACE'", "export database 'NEW'", "import database 'PLACE'"),
    *("copy (select 1) to '/dev/stderr'", "copy (select * from masks) to 'NEW' (format csv, per_thread_output)", "copy runs to 'NEW' (partition_by (model))"),
    *("attach 'PLACE' as other", "attach 'NEW' as other", "attach ':memory:' as other", "detach memory", "use memory", "attach 'PLACE' (type sqlite)"),
    *("install httpfs", "load httpfs", "install 'PLACE'", "load 'PLACE'", "force install json", "update extensions"),
    *("set enable_external_access = true", "set allowed_directories = ['/']", "reset allowed_directories", "set global lock_configuration = false", "set home_directory = 'PLACE'", "set temp_directory = 'NEW'", "set allowed_paths = ['PLACE']", "set extension_directory = 'NEW'", "set log_query_path = 'NEW'", "set python_enable_replacements = true", "set custom_extension_repository = 'PLACE'", "set search_path = 'x'"),
    *("pragma database_list", "pragma enable_profiling", "pragma profiling_output = 'NEW'", "pragma version", "pragma table_info('masks')", "pragma import_database('PLACE')", "call pragma_database_size()", "pragma add_parquet_key('k', '0123456789112345')", "pragma enable_checkpoint_on_shutdown", "call enable_logging()", "pragma force_checkpoint"),
    *("create table t as select 1", "create view clusters as select 1", "create or replace view clusters as select 1", "create secret s (type s3)", "create macro m() as 1", "create temp table t as from masks", "create schema s", "create sequence q", "create type e as enum ('a')", "create persistent secret s (type http, bearer_token 'x')"),
    *("insert into clusters select * from clusters", "delete from clusters", "update clusters set accepted = true", "drop view clusters", "alter table clusters rename to c", "truncate clusters", "merge into clusters using masks on true when matched then delete", "with x as (select 1) insert into clusters select * from x"),
    *("begin", "commit", "rollback", "checkpoint", "force checkpoint", "vacuum", "analyze", "prepare p as copy (select 1) to 'NEW'", "execute p", "deallocate p"),
    *("with a as (copy (select 1) to 'NEW') from a", "with a as materialized (copy masks to 'NEW' (format parquet)) select 1", "with a as (copy (select 1) to 'NEW') pivot masks on area_frac", "from query('with a as (copy (select 1) to ''NEW'') from a')"),
    *("explain analyze copy (select 1) to 'NEW'", "explain copy (select 1) to 'NEW'", "select 1; copy (select 1) to 'NEW'", "/* select */ copy (select 1) to 'NEW'", "-- select\ncopy (select 1) to 'NEW'", "select (copy (select 1) to 'NEW')"),
    *("from query('from read_text(''PLACE'')')", "from query_table('PLACE')", "select getenv('HOME')", "select current_setting('home_directory')", "from duckdb_settings()", "from duckdb_secrets()", "select * from store", "from sql", "from folder", "from found", "select getvariable('x')", "set variable x = 1", "select current_database(), current_user", "from duckdb_extensions()", "from duckdb_views()", "from duckdb_logs()", "from which_secret('PLACE', 's3')", "select read_text('PLACE')", "select write_log('x')", "select parse_path('PLACE')", "from pragma_database_size()", "from duckdb_temporary_files()"),
)  # fmt: skip
"""Statements that reach for what is beside the store (PLACE), write something (NEW), or change the connection."""
JOINTS = (
    *("", " ", "(", ")", ",", ";", "'", '"', "--", "/*", "*/", "$$", "*", "::", "->", "[1]", "{", "}", "?", "$1", ":x"),
    *(
        " union all ",
        " from ",
        " where ",
        " join ",
        " select ",
        " limit 0 ",
        " order by all ",
        " group by all ",
        "\n",
        "\0",
    ),
)


def sql(folder: Path) -> Callable[[random.Random], Trial]:
    """Draw statements; what is answered shows nothing from beside the store, and no file anywhere is another one."""
    for name in ("outside", "here", "home"):
        (folder / name).mkdir(exist_ok=True)
    store = build(folder / "store")
    store.publish(RUNS["alexnet"])
    places = _outside(folder, folder / "store")
    marks = (MARK, Path(__file__).parent.name + "/fuzz", *filter(None, [Path("/etc/hostname").read_text().strip()]))
    os.environ["HOME"] = str(folder / "home")
    os.chdir(folder / "here")
    before = _files(folder)

    def drawn(chance: random.Random) -> Trial:
        statement = _statement(chance, places, folder)

        def do() -> str:
            try:
                text = _answered(store, statement)
            finally:
                assert _files(folder) == before, "files were written or removed"
            assert not any(mark in text for mark in marks), f"read from beside the store: {text[:300]}"
            return "answered"

        return Trial(f"{statement!r}"[:2000], do)

    return drawn


def _answered(store: Store, statement: str) -> str:
    try:
        return as_text(answer(store, statement)).to_csv(index=False)
    except XvError as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError(f"not one line: {error}") from error
        raise


def _outside(folder: Path, store: Path) -> tuple[str, ...]:
    """Write files of every kind beside the store, and return how they may be called."""
    rows = pd.DataFrame({"bird": [MARK], "n": [1]})
    outside = folder / "outside"
    rows.to_csv(outside / "a.csv", index=False)
    rows.to_json(outside / "a.json", orient="records")
    rows.to_parquet(outside / "a.parquet")
    (outside / "a.txt").write_text(MARK)
    with duckdb.connect(outside / "a.db") as connection:
        connection.execute(f"create table t as select '{MARK}' as bird")
    found = [str(path) for path in sorted(outside.iterdir())]
    (outside / MARK).write_text("a name that only a list of the folder tells")
    around = [f"{store}/../outside/{Path(each).name}" for each in found]
    relative = [f"../outside/{Path(each).name}" for each in found]
    schemes = [f"file://{found[0]}", f"file:{found[0]}", "http://127.0.0.1:9/a.parquet", "s3://nowhere/a.parquet"]
    wild = [f"{outside}/*", f"{folder}/*/*", f"{folder}/**", f"{store}/../*/a.*", f"{store}x/a.csv", str(outside)]
    own = [f"{store}/xvstore.json", f"{store}/parts/runs/{RUNS['vgg16']}.parquet", f"{store}/parts/*/*/*.parquet"]
    system = ["/etc/hostname", "/proc/self/cmdline", "~/x", "/dev/null", "md:", "stdin"]
    return (*found, *around, *relative, *schemes, *wild, *own, *system)


def _statement(chance: random.Random, places: tuple[str, ...], folder: Path) -> str:
    kind = chance.random()
    if kind < 0.4:
        return _mutated(chance, chance.choice(QUESTIONS))
    text = chance.choice(LEAVING)
    new = [
        f"{folder}/here/new.csv",
        f"{folder}/store/new.parquet",
        f"{folder}/store/parts/runs/{RUNS['vgg16']}.parquet",
    ]
    new += [f"{folder}/outside/new.db", f"{folder}/store/tables/new.csv", "new.csv", *places]
    text = text.replace("PLACE", chance.choice(places)).replace("NEW", chance.choice(new))
    if kind < 0.75:
        return text
    question = chance.choice(QUESTIONS)
    joined = chance.choice(
        (
            f"{question}; {text}",
            f"{text}; {question}",
            f"{question} union all {text}",
            f"select * from ({text})",
            f"with x as ({text}) from x",
            f"explain {text}",
            f"explain analyze {text}",
            f"{question} where exists ({text})",
            f"from query($${text}$$)",
            f"pivot ({text}) on x",
            text.upper(),
            f"\ufeff{text}",
        )
    )
    return _mutated(chance, joined) if kind > 0.9 else joined


def _mutated(chance: random.Random, text: str) -> str:
    """Return a statement with some words replaced, taken out, doubled or put in."""
    words = re.findall(r"\w+|\s+|'[^']*'|.", text, re.DOTALL)
    names = [*SCHEMAS, *(name for table in SCHEMAS for name in SCHEMAS[table].names)]
    for _ in range(chance.choice((0, 1, 1, 2, 3, 5))):
        at = chance.randrange(len(words) + 1)
        kind = chance.choice(("out", "twice", "joint", "name", "word", "quoted", "swap", "end", "deep"))
        if kind == "out":
            del words[at : at + 1]
        elif kind == "twice":
            words[at:at] = words[at : at + chance.randint(1, 4)]
        elif kind == "joint":
            words.insert(at, chance.choice(JOINTS))
        elif kind == "name":
            words[at : at + 1] = [chance.choice(names)]
        elif kind == "word":
            words.insert(at, word(chance))
        elif kind == "quoted":
            words[at : at + 1] = ["'" + word(chance).replace("'", "''") + "'"]
        elif kind == "swap":
            piece = words[at : at + 4]
            words[at : at + 4] = chance.sample(piece, len(piece))
        elif kind == "end":
            words = words[:at]
        else:
            depth = chance.choice((3, 50, 1500))
            words[at:at] = ["(" * depth, "1", ")" * depth]
        words = words or [" "]
    return "".join(words)


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of each file, DuckDB's own and the fuzzer's among them."""
    found = (path for path in sorted(folder.rglob("*")) if path.name != "stderr")
    return {str(path): (path.stat().st_size if path.is_file() else 0, path.stat().st_mtime_ns) for path in found}
