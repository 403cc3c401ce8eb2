-- With its indexes, constraints, policies and triggers; who refers to it refers to it there.
ALTER TABLE public.{table} SET SCHEMA adopted;
