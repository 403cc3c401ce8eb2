-- Out of the way of ours of the same name.
ALTER FUNCTION {function} SET SCHEMA adopted;
