-- Where the old tables stay, with every row and column, for the owner alone.
CREATE SCHEMA adopted;
