-- When a key was replaced: a week later, when nobody can want it back, its private half goes.

ALTER TABLE dkim_key ADD COLUMN retired @int;
