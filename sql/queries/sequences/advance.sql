-- Moves each sequence of ours that is behind its rows past them; what was drawn last and the highest number, by sequence.
SELECT sequence_name, table_name, column_name, last_drawn, highest FROM public.advance_sequences()
