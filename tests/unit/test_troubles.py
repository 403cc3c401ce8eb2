"""What a process says of itself: nobody erases what another part of it said, and everybody takes back their own."""

from pipeline.workers.troubles import Troubles


def test_each_source_takes_back_its_own():
    troubles = Troubles(lambda: None)
    troubles.say("watchdog", "end this session")
    troubles.say("alarms", "jobs are due")
    assert str(troubles) == "end this session; jobs are due"
    troubles.say("watchdog", "end another one")
    assert str(troubles) == "end another one; jobs are due"
    troubles.say("alarms", "")
    troubles.say("nobody", "")
    assert str(troubles) == "end another one"
    troubles.say("watchdog", "")
    assert str(troubles) == ""


def test_only_what_is_new_is_shown_at_once():
    shown = []
    troubles = Troubles(lambda: shown.append(str(troubles)))
    for text in ("a", "a", "b", ""):
        troubles.say("node", text)
    assert shown == ["a", "b"]
