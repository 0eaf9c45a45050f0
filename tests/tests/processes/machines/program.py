#!/usr/bin/env python3
"""Machines in a file, whose groups are changed by operations that can be held.

`hold.GROUP` beside it names an operation, when it is held, and perhaps the action whose intent must be open: "detach before",
"detach after" it is done, "detach never" (held, and then lost without being done), "describe open terminate" (before, and only
while an intent of that action is open, of any if none is named). Then `held.GROUP` appears, and it goes on when `hold.GROUP` is gone.
Every change that was done is a line in `done`: operation, token, machines (of a floor, from where to where). Every question what became of one is a line in `asked`:
group, token; the next of a group is answered by "not yet" when there is a `not_yet.GROUP`, which goes with it. While there is a
`no_capacity.GROUP`, launches are refused in its words. A group with a `floor` scales in by itself, no lower than that."""
import fcntl, json, os, sys, time, urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
path = lambda name: os.path.join(HERE, name)
ask = json.load(sys.stdin)
operation = ask["operation"]


def home():
    """The group it is about: who is tagged stands in one or comes from one."""
    if operation == "tag":
        return json.load(open(path("machines.json")))["machines"][ask["instances"][0]]["home"]
    return ask.get("group") or (ask["groups"][0] if len(ask.get("groups", [])) == 1 else "")


GROUP = home()


def is_open(action):
    url = open(path("url")).read() + f"/intents?group={GROUP}&limit=100"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return any(it["settled"] is None and action in ("", it["action"]) for it in json.load(answer))


def held(*moments):
    try:
        wanted = open(path(f"hold.{GROUP}")).read().split()
    except FileNotFoundError:
        return
    what, when, action = (wanted + [""])[:3]
    if what != operation or when not in moments or (when == "open" and not is_open(action)):
        return
    open(path(f"held.{GROUP}"), "w").write(operation)
    while os.path.exists(path(f"hold.{GROUP}")):
        time.sleep(0.02)
    if when == "never":
        sys.exit(1)


def stand(state, ids):
    groups = {id: name for name, group in state["groups"].items() for id in group["members"]}
    known = [(id, state["machines"][id]) for id in ids if id in state["machines"]]
    told = [{"instance": id, "state": it["state"], "tags": it["tags"], "protected": False, "in_target_group": False} for id, it in known]
    return [dict(it, group=groups[it["instance"]]) if it["instance"] in groups else it for it in told]


def change(state):
    """Makes a change, once a token, and gives whom it was made to."""
    if ask["token"] in state["tokens"]:
        return state["tokens"][ask["token"]]
    members, named = state["groups"][GROUP]["members"], ask.get("instances", [])
    if operation == "launch":
        named = ["m-%d" % (len(state["machines"]) + n) for n in range(ask["count"])]
        state["machines"].update({id: {"state": "running", "tags": {}, "home": GROUP} for id in named})
    if operation in ("launch", "attach"):
        members += named
    elif operation == "floor":
        state["groups"][GROUP]["floor"] = ask["to"]
    elif operation == "detach":
        state["groups"][GROUP]["members"] = [id for id in members if id not in named]
    else:
        assert operation == "terminate", operation
        for id in named:
            state["machines"][id]["state"] = "ended"
    state["tokens"][ask["token"]] = named
    what = [f"{ask['from']}-{ask['to']}"] if operation == "floor" else named
    open(path("done"), "a").write(" ".join([operation, ask["token"], *what]) + "\n")
    return named


held("before", "open", "never")
with open(path("lock"), "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    state = json.load(open(path("machines.json")))
    answer = {"result": "done"}
    if operation == "describe":
        answer = {"complete": True, "groups": {}}
        for name in ask["groups"]:
            group = state["groups"][name]
            members = [{"instance": id, "lifecycle": "InService", "version": "v1"} for id in group["members"]]
            bounds = {"minimum": group["minimum"], "maximum": 40, "desired": len(members), "version": "v1"}
            if "floor" in group:
                bounds.update(foreign_scale_in=True, floor=group["floor"])
            answer["groups"][name] = {**bounds, "members": members, "owner": group["owner"]}
    elif operation == "tag_group":
        group = state["groups"][GROUP]
        group["owner"] = ask["tags"].get("foreshadow:owner", group["owner"])
    elif operation == "tag":
        for id in ask["instances"]:
            tags = {**state["machines"][id]["tags"], **ask["tags"]}
            state["machines"][id]["tags"] = {tag: value for tag, value in tags.items() if value is not None}
    elif operation == "outside":
        answer = {"instances": stand(state, ask["instances"])}
    elif operation == "tagged":
        answer = {"instances": stand(state, [id for id, it in state["machines"].items() if ask["tag"] in it["tags"]])}
    elif operation == "outcome":
        done = state["tokens"].get(ask["token"])
        answer = {"result": "not_done"} if done is None else {"result": "done", "instances": done}
        open(path("asked"), "a").write(f"{GROUP} {ask['token']}\n")
        if os.path.exists(path(f"not_yet.{GROUP}")):
            os.remove(path(f"not_yet.{GROUP}"))
            answer = {"result": "not_yet"}
    elif operation == "floor" and ask["token"] not in state["tokens"] and state["groups"][GROUP]["floor"] != ask["from"]:
        answer = {"result": "refused", "why": f"it is {state['groups'][GROUP]['floor']} by now"}
    elif operation == "launch" and os.path.exists(path(f"no_capacity.{GROUP}")):
        answer = {"result": "refused", "why": open(path(f"no_capacity.{GROUP}")).read()}
    else:
        answer["instances"] = change(state)
    json.dump(state, open(path("machines.new"), "w"))
    os.replace(path("machines.new"), path("machines.json"))
held("after")
print(json.dumps(answer))
