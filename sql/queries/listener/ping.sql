-- The channels this session listens on: proves in one round trip that the session is alive and still listening.
SELECT coalesce(array_agg(channel), '{}') FROM pg_listening_channels() AS channel;
