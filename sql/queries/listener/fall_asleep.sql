-- From now on this session is to be rung; whether nobody is silent who was not heard yet.
SELECT fall_asleep(%(hushes)s)
