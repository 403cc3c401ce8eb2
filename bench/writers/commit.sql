-- One commit of somebody who has nothing to do with any queue.
UPDATE bench_writers SET commits = commits + 1 WHERE id = :client_id;
