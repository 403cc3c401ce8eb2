-- Whether the session is there. Its lock ends with it and not before.
SELECT true;
