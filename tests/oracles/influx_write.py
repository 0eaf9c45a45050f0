"""Writes what Telegraf measures of a host, with InfluxData's own clients: influx_write.py 1|2 URL TOKEN INSTANCE

The host's processors idle for 30 % of the time; 2 of 8 GB of memory are used. The service has two queues: a client of version 1 writes
how much waits for orders, 500, one of version 2 how much for payments, 300.
"""

import sys
import time
import urllib.parse

import influxdb
import influxdb_client
import requests
import urllib3

version, url, token, instance = sys.argv[1:]
address = urllib.parse.urlsplit(url)
if version == "1":
    client = influxdb.InfluxDBClient(address.hostname, address.port, "anybody", token, "telegraf", gzip=True, retries=1)
    assert client.ping().startswith("foreshadow"), "ping"
else:
    client = influxdb_client.InfluxDBClient(url, token, org="acme", enable_gzip=True, retries=False)
    assert client.ping(), "ping"
    writing = client.write_api(write_options=influxdb_client.client.write_api.SYNCHRONOUS)


def points(now):
    grown = now - 1_700_000_000
    for device, bytes_, packets in [("eth0", 1_000, 1_000), ("eth1", 500, 500), ("lo", 777, 777)]:
        yield "net", {"interface": device}, {
            "bytes_recv": int(2 * bytes_ * grown), "bytes_sent": int(bytes_ * grown),
            "packets_recv": int(2 * packets * grown), "packets_sent": int(packets * grown), "err_in": 0}
    yield "net", {"interface": "all"}, {"icmp_inmsgs": 3}
    yield "cpu", {"cpu": "cpu-total"}, {"usage_idle": 30.0, "usage_steal": 1.0, "usage_user": 69.0}
    yield "cpu", {"cpu": "cpu0"}, {"usage_idle": 99.0, "usage_steal": 0.0, "usage_user": 1.0}
    yield "mem", {}, {"total": 8_000_000_000, "available": 6_000_000_000, "used": 1_500_000_000}
    queue, waiting = ("orders", 500) if version == "1" else ("payments", 300)
    yield "rabbitmq_queue", {"queue": queue}, {"messages_ready": waiting}
    yield "system", {}, {"uptime_format": "1 day, 2:03", "load1": 0.5}


def write(now):
    named = {"host": instance, "service": "web"}
    if version == "1":
        records = [{"measurement": of, "tags": {**named, **tags}, "fields": fields, "time": int(now * 1_000)}
                   for of, tags, fields in points(now)]
        client.write_points(records, time_precision="ms")
    else:
        records = [{"measurement": of, "tags": {**named, **tags}, "fields": fields, "time": int(now * 1e9)}
                   for of, tags, fields in points(now)]
        writing.write("telegraf", record=records)


while True:
    now = time.time()
    while True:
        try:
            write(now)
            break
        except (requests.exceptions.ConnectionError, urllib3.exceptions.HTTPError, ConnectionError):
            # Nobody is there: the same again, as Telegraf does.
            time.sleep(0.2)
        except Exception as error:
            if "of one that is not known here" in str(error):
                # The group is known by its first sample, which this request brought: as Telegraf does, it goes on.
                break
            print(f"{type(error).__name__}: {error}", flush=True)
            sys.exit(1)
    time.sleep(1)
