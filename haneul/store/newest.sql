CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO "alembic_version" VALUES('0015');

CREATE TABLE alias_move (
	id TEXT NOT NULL, 
	model TEXT NOT NULL, 
	alias TEXT NOT NULL, 
	revision TEXT, 
	actor TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE audit (
	id TEXT NOT NULL, 
	at_us BIGINT NOT NULL, 
	actor TEXT NOT NULL, 
	action TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	detail TEXT, origin TEXT, request_id TEXT, "before" TEXT, "after" TEXT, 
	PRIMARY KEY (id)
);

CREATE TABLE batch (
	id TEXT NOT NULL, 
	key_id TEXT NOT NULL, 
	endpoint TEXT NOT NULL, 
	input_file_id TEXT NOT NULL, 
	labels TEXT, 
	state TEXT NOT NULL, 
	model TEXT, 
	errors TEXT, 
	output_file_id TEXT, 
	error_file_id TEXT, 
	total INTEGER NOT NULL, 
	completed INTEGER NOT NULL, 
	failed INTEGER NOT NULL, 
	usage TEXT, 
	created_us BIGINT NOT NULL, 
	expires_us BIGINT NOT NULL, 
	in_progress_us BIGINT, 
	finalizing_us BIGINT, 
	cancelling_us BIGINT, 
	ended_us BIGINT, 
	PRIMARY KEY (id)
);

CREATE TABLE batch_line (
	batch_id TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	status SMALLINT NOT NULL, 
	result TEXT NOT NULL, 
	prompt_tokens INTEGER NOT NULL, 
	cached_tokens INTEGER NOT NULL, 
	completion_tokens INTEGER NOT NULL, 
	reasoning_tokens INTEGER NOT NULL, 
	PRIMARY KEY (batch_id, number)
);

CREATE TABLE budget (
	id TEXT NOT NULL, 
	tenant_id TEXT NOT NULL, 
	owner_kind TEXT NOT NULL, 
	owner_id TEXT NOT NULL, 
	measure TEXT NOT NULL, 
	period TEXT NOT NULL, 
	amount BIGINT NOT NULL, 
	created_us BIGINT NOT NULL, 
	ended_us BIGINT, 
	PRIMARY KEY (id)
);

CREATE TABLE cached_answer (
	digest BLOB NOT NULL, 
	tenant_id TEXT NOT NULL, 
	body BLOB NOT NULL, 
	bytes BIGINT NOT NULL, 
	created_us BIGINT NOT NULL, 
	used_us BIGINT NOT NULL, 
	PRIMARY KEY (digest)
);

CREATE TABLE calibration (
	id TEXT NOT NULL, 
	chip TEXT NOT NULL, 
	haneul TEXT NOT NULL, 
	learned TEXT NOT NULL, 
	report TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE chip_hour (
	id TEXT NOT NULL, 
	chip TEXT NOT NULL, 
	currency TEXT NOT NULL, 
	from_us BIGINT NOT NULL, 
	to_us BIGINT NOT NULL, 
	cost_nano BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE deployment (
	id TEXT NOT NULL, 
	model TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	engine TEXT NOT NULL, 
	engine_version TEXT NOT NULL, 
	haneul TEXT NOT NULL, 
	chip TEXT NOT NULL, 
	quantisation TEXT NOT NULL, 
	calibration TEXT, 
	slots INTEGER NOT NULL, 
	context_tokens INTEGER NOT NULL, 
	said TEXT NOT NULL, 
	started_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE derivation (
	id TEXT NOT NULL, 
	child TEXT NOT NULL, 
	parent TEXT NOT NULL, 
	relation TEXT NOT NULL, 
	recipe TEXT NOT NULL, 
	tools TEXT NOT NULL, 
	licence TEXT, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE engine (
	name TEXT NOT NULL, 
	url TEXT NOT NULL, 
	key_file TEXT, 
	models TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	removed_us BIGINT, shares_prefixes SMALLINT DEFAULT '0' NOT NULL, own_slots INTEGER, thinking_field TEXT, 
	PRIMARY KEY (name)
);

CREATE TABLE eval_case (
	id TEXT NOT NULL, 
	suite TEXT NOT NULL, 
	name TEXT NOT NULL, 
	cluster TEXT NOT NULL, 
	body TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE eval_result (
	id TEXT NOT NULL, 
	run_id TEXT NOT NULL, 
	case_id TEXT NOT NULL, 
	model TEXT NOT NULL, 
	model_digest TEXT NOT NULL, 
	parameters TEXT NOT NULL, 
	state TEXT NOT NULL, 
	score_millionths INTEGER NOT NULL, 
	reason TEXT, 
	answer TEXT, 
	attempts SMALLINT NOT NULL, 
	unpriced SMALLINT NOT NULL, 
	currency TEXT NOT NULL, 
	cost_nano BIGINT NOT NULL, 
	judge_nano BIGINT NOT NULL, 
	latency_us BIGINT, 
	prompt_tokens INTEGER NOT NULL, 
	completion_tokens INTEGER NOT NULL, 
	reasoning_tokens INTEGER NOT NULL, 
	request_id TEXT, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE eval_run (
	id TEXT NOT NULL, 
	suite_id TEXT NOT NULL, 
	suite TEXT NOT NULL, 
	subjects TEXT NOT NULL, 
	cases TEXT NOT NULL, 
	judge TEXT, 
	actor TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE eval_suite (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	version TEXT NOT NULL, 
	licence TEXT NOT NULL, 
	task TEXT NOT NULL, 
	cases INTEGER NOT NULL, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE file (
	id TEXT NOT NULL, 
	key_id TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	filename TEXT NOT NULL, 
	bytes BIGINT NOT NULL, 
	created_us BIGINT NOT NULL, 
	expires_us BIGINT, 
	PRIMARY KEY (id)
);

CREATE TABLE forecast (
	id TEXT NOT NULL, 
	model TEXT NOT NULL, 
	digest TEXT, 
	chip TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	low BIGINT NOT NULL, 
	mid BIGINT NOT NULL, 
	high BIGINT NOT NULL, 
	unit TEXT NOT NULL, 
	source TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE invoice (
	id TEXT NOT NULL, 
	tenant_id TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	month TEXT NOT NULL, 
	currency TEXT NOT NULL, 
	total_nano BIGINT NOT NULL, 
	of_number INTEGER, 
	reason TEXT, 
	issued_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE invoice_line (
	id TEXT NOT NULL, 
	invoice_id TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	key_id TEXT, 
	model TEXT, 
	engine TEXT, 
	price_id TEXT, 
	requests BIGINT NOT NULL, 
	prompt_tokens BIGINT NOT NULL, 
	cached_tokens BIGINT NOT NULL, 
	completion_tokens BIGINT NOT NULL, 
	reasoning_tokens BIGINT NOT NULL, 
	cost_nano BIGINT NOT NULL, audio_us BIGINT, images BIGINT, characters BIGINT, 
	PRIMARY KEY (id)
);

CREATE TABLE "key" (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	hash BLOB NOT NULL, 
	scopes TEXT NOT NULL, 
	models TEXT, 
	budget_nano BIGINT, 
	requests_per_minute INTEGER, 
	tokens_per_minute INTEGER, 
	created_us BIGINT NOT NULL, 
	expires_us BIGINT, 
	revoked_us BIGINT, tenant_id TEXT DEFAULT 'default' NOT NULL, user_id TEXT, role TEXT, app TEXT, 
	PRIMARY KEY (id)
);

CREATE TABLE matrix_row (
	id TEXT NOT NULL, 
	signer TEXT NOT NULL, 
	signature TEXT NOT NULL, 
	model TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	chip TEXT NOT NULL, 
	written TEXT NOT NULL, 
	taken_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE measurement (
	id TEXT NOT NULL, 
	model TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	chip TEXT NOT NULL, 
	engine_version TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	value BIGINT NOT NULL, 
	unit TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE model (
	name TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	path TEXT NOT NULL, 
	bytes BIGINT NOT NULL, 
	source TEXT NOT NULL, 
	licence TEXT, 
	shape TEXT NOT NULL, 
	pulled_us BIGINT NOT NULL, 
	removed_us BIGINT, revision TEXT, 
	PRIMARY KEY (name)
);

CREATE TABLE price (
	id TEXT NOT NULL, 
	model TEXT NOT NULL, 
	engine TEXT NOT NULL, 
	currency TEXT NOT NULL, 
	input_nano BIGINT NOT NULL, 
	cached_nano BIGINT NOT NULL, 
	output_nano BIGINT NOT NULL, 
	hour_nano BIGINT NOT NULL, 
	basis TEXT NOT NULL, 
	created_us BIGINT NOT NULL, reasoning_nano BIGINT, from_us BIGINT DEFAULT '0' NOT NULL, unit TEXT, unit_nano BIGINT, 
	PRIMARY KEY (id)
);

CREATE TABLE pull_count (
	model TEXT NOT NULL, 
	key_id TEXT NOT NULL, 
	day INTEGER NOT NULL, 
	pulls BIGINT NOT NULL, 
	bytes BIGINT NOT NULL, 
	PRIMARY KEY (model, key_id, day)
);

CREATE TABLE quality (
	id TEXT NOT NULL, 
	child TEXT NOT NULL, 
	parent TEXT NOT NULL, 
	suite TEXT NOT NULL, 
	measures TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE replay (
	key_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	digest BLOB NOT NULL, 
	request_id TEXT NOT NULL, 
	content_type TEXT NOT NULL, 
	body BLOB NOT NULL, 
	bytes BIGINT NOT NULL, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (key_id, name)
);

CREATE TABLE request (
	id TEXT NOT NULL, 
	key_id TEXT NOT NULL, 
	app TEXT, 
	route TEXT NOT NULL, 
	model TEXT, 
	digest TEXT, 
	engine TEXT, 
	engine_version TEXT, 
	chip TEXT, 
	state TEXT NOT NULL, 
	status SMALLINT NOT NULL, 
	error_code TEXT, 
	is_stream SMALLINT NOT NULL, 
	metering TEXT NOT NULL, 
	prompt_tokens INTEGER NOT NULL, 
	cached_tokens INTEGER NOT NULL, 
	completion_tokens INTEGER NOT NULL, 
	reasoning_tokens INTEGER NOT NULL, 
	price_id TEXT, 
	currency TEXT NOT NULL, 
	cost_nano BIGINT NOT NULL, 
	hour_nano BIGINT NOT NULL, 
	busy_us BIGINT NOT NULL, 
	upstream_id TEXT, 
	end_user TEXT, 
	received_us BIGINT NOT NULL, 
	started_us BIGINT, 
	first_token_us BIGINT, 
	finished_us BIGINT NOT NULL, tenant_id TEXT DEFAULT 'default' NOT NULL, user_id TEXT, share_millionths INTEGER DEFAULT '1000000' NOT NULL, routed TEXT, saved_nano BIGINT, thinking_max INTEGER, masked INTEGER, unit TEXT, units BIGINT, tried TEXT, 
	PRIMARY KEY (id)
);

CREATE TABLE response (
	id TEXT NOT NULL, 
	key_id TEXT NOT NULL, 
	previous_id TEXT, 
	input TEXT NOT NULL, 
	response TEXT NOT NULL, 
	bytes BIGINT NOT NULL, 
	created_us BIGINT NOT NULL, 
	used_us BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE revision (
	model TEXT NOT NULL, 
	id TEXT NOT NULL, 
	manifest TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	bytes BIGINT NOT NULL, 
	source TEXT NOT NULL, 
	source_revision TEXT NOT NULL, 
	licence TEXT, 
	facts TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	withdrawn_us BIGINT, 
	reason TEXT, 
	PRIMARY KEY (model, id)
);

CREATE TABLE route (
	name TEXT NOT NULL, 
	members TEXT NOT NULL, 
	fallbacks TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	removed_us BIGINT, scarce TEXT DEFAULT '[]' NOT NULL, 
	PRIMARY KEY (name)
);

CREATE TABLE rule (
	owner_kind TEXT NOT NULL, 
	owner_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	PRIMARY KEY (owner_kind, owner_id, name)
);

CREATE TABLE spending (
	owner_kind TEXT NOT NULL, 
	owner_id TEXT NOT NULL, 
	day INTEGER NOT NULL, 
	cost_nano BIGINT NOT NULL, 
	PRIMARY KEY (owner_kind, owner_id, day)
);

CREATE TABLE tenant (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	closed_us BIGINT, 
	PRIMARY KEY (id)
);

INSERT INTO "tenant" VALUES('default','default',0,NULL);

CREATE TABLE tenant_user (
	id TEXT NOT NULL, 
	tenant_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	role TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	removed_us BIGINT, 
	PRIMARY KEY (id)
);

CREATE TABLE trial (
	id TEXT NOT NULL, 
	tuning_id TEXT NOT NULL, 
	model TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	chip TEXT NOT NULL, 
	setup TEXT NOT NULL, 
	kernel TEXT, 
	state TEXT NOT NULL, 
	reason TEXT, 
	rounds INTEGER NOT NULL, 
	single_milli BIGINT, 
	together_milli BIGINT, 
	shared_milli BIGINT, 
	ttft_us BIGINT, 
	together_ttft_us BIGINT, 
	spread_millionths BIGINT, 
	memory_bytes BIGINT, 
	loss_low BIGINT, 
	loss_mid BIGINT, 
	loss_high BIGINT, 
	created_us BIGINT NOT NULL, long_milli BIGINT, 
	PRIMARY KEY (id)
);

CREATE TABLE tuning (
	id TEXT NOT NULL, 
	model TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	chip TEXT NOT NULL, 
	versions TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	default_trial TEXT NOT NULL, 
	single_trial TEXT NOT NULL, 
	many_trial TEXT NOT NULL, 
	used_trial TEXT NOT NULL, 
	said TEXT NOT NULL, 
	load TEXT NOT NULL, 
	took_us BIGINT NOT NULL, 
	created_us BIGINT NOT NULL, many_from INTEGER, 
	PRIMARY KEY (id)
);

CREATE INDEX measurement_newest ON measurement (digest, chip, kind, created_us);

CREATE INDEX price_in_force ON price (model, engine, created_us);

CREATE INDEX request_by_key ON request (key_id, received_us);

CREATE INDEX request_by_upstream ON request (upstream_id);

CREATE TRIGGER request_no_update BEFORE UPDATE ON request BEGIN SELECT RAISE(ABORT, 'request is append-only'); END;

CREATE TRIGGER request_no_delete BEFORE DELETE ON request BEGIN SELECT RAISE(ABORT, 'request is append-only'); END;

CREATE TRIGGER request_no_replace BEFORE INSERT ON request WHEN EXISTS (SELECT 1 FROM request WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'request is append-only'); END;

CREATE TRIGGER chip_hour_no_update BEFORE UPDATE ON chip_hour BEGIN SELECT RAISE(ABORT, 'chip_hour is append-only'); END;

CREATE TRIGGER chip_hour_no_delete BEFORE DELETE ON chip_hour BEGIN SELECT RAISE(ABORT, 'chip_hour is append-only'); END;

CREATE TRIGGER chip_hour_no_replace BEFORE INSERT ON chip_hour WHEN EXISTS (SELECT 1 FROM chip_hour WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'chip_hour is append-only'); END;

CREATE TRIGGER price_no_update BEFORE UPDATE ON price BEGIN SELECT RAISE(ABORT, 'price is append-only'); END;

CREATE TRIGGER price_no_delete BEFORE DELETE ON price BEGIN SELECT RAISE(ABORT, 'price is append-only'); END;

CREATE TRIGGER price_no_replace BEFORE INSERT ON price WHEN EXISTS (SELECT 1 FROM price WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'price is append-only'); END;

CREATE TRIGGER measurement_no_update BEFORE UPDATE ON measurement BEGIN SELECT RAISE(ABORT, 'measurement is append-only'); END;

CREATE TRIGGER measurement_no_delete BEFORE DELETE ON measurement BEGIN SELECT RAISE(ABORT, 'measurement is append-only'); END;

CREATE TRIGGER measurement_no_replace BEFORE INSERT ON measurement WHEN EXISTS (SELECT 1 FROM measurement WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'measurement is append-only'); END;

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;

CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;

CREATE INDEX trial_of_tuning ON trial (tuning_id);

CREATE TRIGGER trial_no_update BEFORE UPDATE ON trial BEGIN SELECT RAISE(ABORT, 'trial is append-only'); END;

CREATE TRIGGER trial_no_delete BEFORE DELETE ON trial BEGIN SELECT RAISE(ABORT, 'trial is append-only'); END;

CREATE TRIGGER trial_no_replace BEFORE INSERT ON trial WHEN EXISTS (SELECT 1 FROM trial WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'trial is append-only'); END;

CREATE INDEX tuning_newest ON tuning (digest, chip, versions, created_us);

CREATE TRIGGER tuning_no_update BEFORE UPDATE ON tuning BEGIN SELECT RAISE(ABORT, 'tuning is append-only'); END;

CREATE TRIGGER tuning_no_delete BEFORE DELETE ON tuning BEGIN SELECT RAISE(ABORT, 'tuning is append-only'); END;

CREATE TRIGGER tuning_no_replace BEFORE INSERT ON tuning WHEN EXISTS (SELECT 1 FROM tuning WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'tuning is append-only'); END;

CREATE INDEX request_by_tenant ON request (tenant_id, received_us);

CREATE INDEX budget_of_tenant ON budget (tenant_id, ended_us);

CREATE UNIQUE INDEX invoice_number ON invoice (tenant_id, number);

CREATE UNIQUE INDEX line_of_invoice ON invoice_line (invoice_id, position);

CREATE TRIGGER invoice_no_update BEFORE UPDATE ON invoice BEGIN SELECT RAISE(ABORT, 'invoice is append-only'); END;

CREATE TRIGGER invoice_no_delete BEFORE DELETE ON invoice BEGIN SELECT RAISE(ABORT, 'invoice is append-only'); END;

CREATE TRIGGER invoice_no_replace BEFORE INSERT ON invoice WHEN EXISTS (SELECT 1 FROM invoice WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'invoice is append-only'); END;

CREATE TRIGGER invoice_line_no_update BEFORE UPDATE ON invoice_line BEGIN SELECT RAISE(ABORT, 'invoice_line is append-only'); END;

CREATE TRIGGER invoice_line_no_delete BEFORE DELETE ON invoice_line BEGIN SELECT RAISE(ABORT, 'invoice_line is append-only'); END;

CREATE TRIGGER invoice_line_no_replace BEFORE INSERT ON invoice_line WHEN EXISTS (SELECT 1 FROM invoice_line WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'invoice_line is append-only'); END;

CREATE INDEX replay_by_age ON replay (created_us, bytes);

CREATE INDEX response_by_key ON response (key_id, used_us, bytes);

CREATE INDEX response_by_use ON response (used_us);

CREATE INDEX file_by_key ON file (key_id, created_us, bytes);

CREATE INDEX batch_by_key ON batch (key_id, created_us);

CREATE INDEX batch_by_state ON batch (state);

CREATE INDEX audit_at ON audit (at_us);

CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit WHEN OLD.at_us > (CAST(strftime('%s', 'now') AS INTEGER) - 7776000) * 1000000 BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;

CREATE INDEX cached_answer_by_use ON cached_answer (used_us, bytes);

CREATE INDEX cached_answer_by_tenant ON cached_answer (tenant_id, used_us);

CREATE INDEX revision_by_id ON revision (id);

CREATE INDEX revision_by_digest ON revision (digest);

CREATE INDEX alias_newest ON alias_move (model, alias, created_us);

CREATE INDEX derivation_by_child ON derivation (child);

CREATE INDEX derivation_by_parent ON derivation (parent);

CREATE INDEX quality_newest ON quality (child, created_us);

CREATE TRIGGER alias_move_no_update BEFORE UPDATE ON alias_move BEGIN SELECT RAISE(ABORT, 'alias_move is append-only'); END;

CREATE TRIGGER alias_move_no_delete BEFORE DELETE ON alias_move BEGIN SELECT RAISE(ABORT, 'alias_move is append-only'); END;

CREATE TRIGGER alias_move_no_replace BEFORE INSERT ON alias_move WHEN EXISTS (SELECT 1 FROM alias_move WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'alias_move is append-only'); END;

CREATE TRIGGER derivation_no_update BEFORE UPDATE ON derivation BEGIN SELECT RAISE(ABORT, 'derivation is append-only'); END;

CREATE TRIGGER derivation_no_delete BEFORE DELETE ON derivation BEGIN SELECT RAISE(ABORT, 'derivation is append-only'); END;

CREATE TRIGGER derivation_no_replace BEFORE INSERT ON derivation WHEN EXISTS (SELECT 1 FROM derivation WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'derivation is append-only'); END;

CREATE TRIGGER quality_no_update BEFORE UPDATE ON quality BEGIN SELECT RAISE(ABORT, 'quality is append-only'); END;

CREATE TRIGGER quality_no_delete BEFORE DELETE ON quality BEGIN SELECT RAISE(ABORT, 'quality is append-only'); END;

CREATE TRIGGER quality_no_replace BEFORE INSERT ON quality WHEN EXISTS (SELECT 1 FROM quality WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'quality is append-only'); END;

CREATE INDEX eval_suite_by_name ON eval_suite (name, created_us);

CREATE INDEX eval_run_by_suite ON eval_run (suite, created_us);

CREATE INDEX eval_result_newest ON eval_result (case_id, model_digest, parameters, created_us);

CREATE TRIGGER eval_suite_no_update BEFORE UPDATE ON eval_suite BEGIN SELECT RAISE(ABORT, 'eval_suite is append-only'); END;

CREATE TRIGGER eval_suite_no_delete BEFORE DELETE ON eval_suite BEGIN SELECT RAISE(ABORT, 'eval_suite is append-only'); END;

CREATE TRIGGER eval_suite_no_replace BEFORE INSERT ON eval_suite WHEN EXISTS (SELECT 1 FROM eval_suite WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'eval_suite is append-only'); END;

CREATE TRIGGER eval_case_no_update BEFORE UPDATE ON eval_case BEGIN SELECT RAISE(ABORT, 'eval_case is append-only'); END;

CREATE TRIGGER eval_case_no_delete BEFORE DELETE ON eval_case BEGIN SELECT RAISE(ABORT, 'eval_case is append-only'); END;

CREATE TRIGGER eval_case_no_replace BEFORE INSERT ON eval_case WHEN EXISTS (SELECT 1 FROM eval_case WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'eval_case is append-only'); END;

CREATE TRIGGER eval_run_no_update BEFORE UPDATE ON eval_run BEGIN SELECT RAISE(ABORT, 'eval_run is append-only'); END;

CREATE TRIGGER eval_run_no_delete BEFORE DELETE ON eval_run BEGIN SELECT RAISE(ABORT, 'eval_run is append-only'); END;

CREATE TRIGGER eval_run_no_replace BEFORE INSERT ON eval_run WHEN EXISTS (SELECT 1 FROM eval_run WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'eval_run is append-only'); END;

CREATE TRIGGER eval_result_no_update BEFORE UPDATE ON eval_result BEGIN SELECT RAISE(ABORT, 'eval_result is append-only'); END;

CREATE TRIGGER eval_result_no_delete BEFORE DELETE ON eval_result BEGIN SELECT RAISE(ABORT, 'eval_result is append-only'); END;

CREATE TRIGGER eval_result_no_replace BEFORE INSERT ON eval_result WHEN EXISTS (SELECT 1 FROM eval_result WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'eval_result is append-only'); END;

CREATE INDEX deployment_by_chip ON deployment (chip, started_us);

CREATE INDEX calibration_newest ON calibration (chip, created_us);

CREATE TRIGGER deployment_no_update BEFORE UPDATE ON deployment BEGIN SELECT RAISE(ABORT, 'deployment is append-only'); END;

CREATE TRIGGER deployment_no_delete BEFORE DELETE ON deployment BEGIN SELECT RAISE(ABORT, 'deployment is append-only'); END;

CREATE TRIGGER deployment_no_replace BEFORE INSERT ON deployment WHEN EXISTS (SELECT 1 FROM deployment WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'deployment is append-only'); END;

CREATE TRIGGER calibration_no_update BEFORE UPDATE ON calibration BEGIN SELECT RAISE(ABORT, 'calibration is append-only'); END;

CREATE TRIGGER calibration_no_delete BEFORE DELETE ON calibration BEGIN SELECT RAISE(ABORT, 'calibration is append-only'); END;

CREATE TRIGGER calibration_no_replace BEFORE INSERT ON calibration WHEN EXISTS (SELECT 1 FROM calibration WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'calibration is append-only'); END;

CREATE INDEX matrix_row_of_model ON matrix_row (digest, chip);
