#!/usr/bin/env python3
"""Starts of repeated events as python-dateutil and zoneinfo have them, for aggregator/src/events/ical_oracle.json.

    pip install python-dateutil==2.9.0.post0 tzdata
    python3 tests/oracles/ical.py > aggregator/src/events/ical_oracle.json

dateutil counts on the clock of the wall; a time that the clocks skip is taken as much later as they skip, of two that have the
same name the first is meant (RFC 5545, section 3.3.5)."""
import datetime as dt
import json
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

LAST = dt.datetime(2030, 1, 1, tzinfo=dt.timezone.utc)

RULES = [
    ("20260327T023000", "FREQ=DAILY;COUNT=6", []),
    ("20261023T023000", "FREQ=DAILY;COUNT=6", ["20261024T023000"]),
    ("20260302T180000", "FREQ=WEEKLY;BYDAY=MO,WE,FR;COUNT=120", ["20260401T180000", "20261026T180000"]),
    ("20260131T090000", "FREQ=MONTHLY;COUNT=10", []),
    ("20260130T090000", "FREQ=MONTHLY;BYDAY=-1FR;COUNT=24", []),
    ("20260105T090000", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1;COUNT=18", []),
    ("20261127T000000", "FREQ=YEARLY;BYMONTH=11;BYDAY=4FR;COUNT=4", []),
    ("20260329T013000", "FREQ=WEEKLY;INTERVAL=2;WKST=SU;COUNT=40", []),
    ("20260101T120000", "FREQ=MONTHLY;BYMONTHDAY=15,-1;COUNT=30", []),
    ("20260101T063000", "FREQ=DAILY;INTERVAL=10;COUNT=60", []),
]
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]


def moment(wall, zone):
    here = wall.replace(tzinfo=ZoneInfo(zone), fold=0)
    return int(here.timestamp())


def stamp(text):
    return dt.datetime.strptime(text, "%Y%m%dT%H%M%S")


cases = []
for zone in ZONES:
    for dtstart, rule, exdates in RULES:
        without = {moment(stamp(text), zone) for text in exdates}
        starts = [moment(wall, zone) for wall in rrulestr(rule, dtstart=stamp(dtstart))]
        starts = sorted({at for at in starts if at not in without and at < LAST.timestamp()})
        cases.append({"zone": zone, "dtstart": dtstart, "rrule": rule, "exdates": exdates, "starts": starts})
print(json.dumps({"made_by": "tests/oracles/ical.py, python-dateutil 2.9.0.post0", "cases": cases}, indent=1))
