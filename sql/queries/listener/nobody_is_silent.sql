-- Whether everybody has ended who changed flags and rang nobody.
SELECT nobody_is_silent()
