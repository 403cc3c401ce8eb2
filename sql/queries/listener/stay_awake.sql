-- From now on this session need not be rung; whether it is the one that others see to be awake.
SELECT stay_awake()
