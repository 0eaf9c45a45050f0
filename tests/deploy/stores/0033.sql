-- A store as a build with migrations 0001 to 0033 leaves it. Made once, and never changed: what that build wrote on
-- 2026-11-26; rows of intent, shadow_session and lead_time are by hand.
BEGIN TRANSACTION;
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO "_sqlx_migrations" VALUES(1,'store','2026-11-27 09:30:00',1,X'E23AAAC56D2316C0C38844C4C5A0ACA0E02A22DD3BA5376CB86A94174B72B375AF496ADE8BD5AD8C96D338056DF0A1BB',11378276);
INSERT INTO "_sqlx_migrations" VALUES(2,'inventory','2026-11-27 09:30:00',1,X'3360CC6D26AAFE08CF8E21EAF1C3F34B4D7870F133B81592C0C87603D6F7E7F6F2AE3E9CAC85E146861883979ED56437',10421902);
INSERT INTO "_sqlx_migrations" VALUES(3,'shadow','2026-11-27 09:30:00',1,X'C444F7E602E51F6764F005DDB19D5481B3B81B5445EA8A3B37B3B8B010C1491C596BCE1F28FE760D9F4E806452B985E8',5679479);
INSERT INTO "_sqlx_migrations" VALUES(4,'rounds','2026-11-27 09:30:00',1,X'10E44CD460149C108637BE39EC04513055D1F28EC18257A4C8810AE169CF11187D87C0E372B084E4C2DD3E723C035FBD',3946380);
INSERT INTO "_sqlx_migrations" VALUES(5,'identity','2026-11-27 09:30:00',1,X'8A1A071B3D805D8B458F95B4813C0195E0842A9A26271F044E7B1D6D8D0DBDCDF39AFEEF994DA5FD1A4F824A2E8DA763',4970049);
INSERT INTO "_sqlx_migrations" VALUES(6,'events','2026-11-27 09:30:00',1,X'6B285F158BFE8725398B54234B462D421A89DAE51939FAAF7344C0F5CABB8C62C379AD43E80950C3E573D05E5B6D3DAC',6647184);
INSERT INTO "_sqlx_migrations" VALUES(7,'act','2026-11-27 09:30:00',1,X'60F83E34E322B8055E7AC65726AD70F445A3A804B02A223533F15FD8D33AF80D305BE5C01B001255DB6D251158DA8BDC',7958503);
INSERT INTO "_sqlx_migrations" VALUES(8,'decision','2026-11-27 09:30:00',1,X'5AFCFAA11CB2597926048E6D58230978A1B96BD805ADA789B608CA96A042ABC6D337005D1321E5D24B997408C0B100FD',3838658);
INSERT INTO "_sqlx_migrations" VALUES(12,'identity','2026-11-27 09:30:00',1,X'DD021AD5AE34AEDC20D76A8B17C16E232BEC91B2EC97548E1961B72A2D257B849611DEE50F6992322171EB3D6D0A3ED2',3890084);
INSERT INTO "_sqlx_migrations" VALUES(16,'import','2026-11-27 09:30:00',1,X'AB6ECCFF8D213BCE08AD5A834B8100D4A6837DCBF57E99E2E4CD449612221CE28CDDF2B93EC957D000EFF210D344C3D8',3909591);
INSERT INTO "_sqlx_migrations" VALUES(19,'limits','2026-11-27 09:30:00',1,X'78C1679A68A291D86C556D8E8DBAE8DD31EC9888EF086E3D69F6F03D0008228AAFF9BB33E070D0F20AE12631D8D06EA2',3318122);
INSERT INTO "_sqlx_migrations" VALUES(23,'retraction','2026-11-27 09:30:00',1,X'EFB2346B6154312707BB71EC12B070A3B236560AC97D65430573E89E13699FFF05EFA88209AD83CE2266574E91927ECA',3877120);
INSERT INTO "_sqlx_migrations" VALUES(24,'forward minute','2026-11-27 09:30:00',1,X'CE8484D247C035411F5283D7E9DC3322240E5C64E1AE9780BE7C069DC686E9679F48B7D966249639683F92916E2B6A7B',3840632);
INSERT INTO "_sqlx_migrations" VALUES(30,'last week','2026-11-27 09:30:00',1,X'F84A1F80ABD744A216A763B9B13A81562811AA8F244DD6AD68AACC23060960617B16FD400BE907B27BE11E31D71D9F06',3910722);
INSERT INTO "_sqlx_migrations" VALUES(31,'sent','2026-11-27 09:30:00',1,X'275817D7B2790EEE48C6725BF0B21B1720CCDB644357CA88E7870AF8E8055A9A3DBD17186861A49DE78DB21BD41EDAB3',3836945);
INSERT INTO "_sqlx_migrations" VALUES(32,'reading','2026-11-27 09:30:00',1,X'428427556DC628261D0F3ABD8B7F6EC7BFBCBF41F6E2B65DA8B8DEC354EB27A6FFBA0D3A01774EA8BB0B4424272B0F33',7020905);
INSERT INTO "_sqlx_migrations" VALUES(33,'stream rows','2026-11-27 09:30:00',1,X'9F83F4B5CFFB5FA5F5629177D5EEEE767E83B0902ECEC4237511562E2EE7686D0B43E98F3CFF86E44D1A15E6F2A5663F',4880231);
CREATE TABLE accepted_limits (
    group_name TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    at_seconds BIGINT NOT NULL,
    accepted_by TEXT NOT NULL,
    reason TEXT NOT NULL
);
INSERT INTO "accepted_limits" VALUES('*','{"drain_seconds":300,"warm_up_seconds":600,"shadow":{"default_seconds":3600,"maximum_seconds":86400,"groups":{},"instance_types":{},"prices_per_hour":{}},"safety":{"warm_up_seconds":600,"inventory_fresh_seconds":120,"share_15_minutes":0.1,"share_6_hours":0.3,"fleet_share":0.02,"quiet_seconds":600,"sample_fresh_seconds":120,"common_cause_share":0.2},"reach":{"file":"none"}}',1795771800,'the configuration file','seen for the first time');
CREATE TABLE audit (
    entry BIGINT NOT NULL PRIMARY KEY,
    at_micros BIGINT NOT NULL,
    caller TEXT NOT NULL,
    role TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL,
    reason TEXT NOT NULL
, hash BYTEA);
INSERT INTO "audit" VALUES(1,1795771800486219,'local','admin','enter_event','{"duration_seconds":86400,"group":"web","intensity":2.0,"name":"sale","reason":"the yearly sale","starts":"2027-11-26T00:00:00Z"}','the yearly sale',X'31BC3B55C52B383DD33AD23A4E6BA776403F8AB26746687F83918C09A5456E2C');
INSERT INTO "audit" VALUES(2,1795771800571130,'local','admin','pause','web','a night of our own',X'58C4EF3028C61EAB5E12454C019CC1D258782A451DCC4568EE33D2D170411DB6');
INSERT INTO "audit" VALUES(3,1795771800615905,'local','admin','import_history','web cpu 1795680000 to 1795681800: 30 minutes of csv past.csv sha256 94e074bb6d1318e0','',X'84C06A0CC25F95E074B049E4A2E040CBA73A1C52DA09B12B5D4AFDCBF3B20D71');
CREATE TABLE certificate (
    -- SHA-256 of the certificate.
    fingerprint BYTEA NOT NULL PRIMARY KEY,
    instance TEXT NOT NULL,
    issued_micros BIGINT NOT NULL,
    expires_micros BIGINT NOT NULL
);
CREATE TABLE chunk (
    instance TEXT NOT NULL,
    hour BIGINT NOT NULL,
    part BIGINT NOT NULL,
    first_micros BIGINT NOT NULL,
    last_micros BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (instance, hour, part)
);
INSERT INTO "chunk" VALUES('i-1',498824,1,1795766420000000,1795767600000000,60,X'5B0000007B22696E7374616E636573223A5B22692D31225D2C2273747265616D73223A5B5B3131352C3131362C3131342C3130312C39372C3130392C33322C3131312C3130322C33322C3130352C34352C34392C34362C34362C34365D5D7D1800000070636F210300050F0401013B0000001000000000000000001800000070636F210300050F0401013B0000001000000000000000001800000070636F210300050F0401013B0000001000080000000000002400000070636F210300050F0401023B0000100101800000000000000040000100000000000000003700000070636F210300050F0401043B000001D012130000000010010180000000000000004000040000ECC2010000000000937A24656B000000003700000070636F210300050F0401023B00000124F400000000001001018000000000000000400004000000000000000000000100000000000000001800000070636F210300050F0401013B0000001000401F00000000004C00000070636F210300050F0401063B0000F31252020001FFFFFFFFFFFFFF47E0000000000000008000080000000000000000000000E07F0100000000002000000000000000F31905326F0140F607000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F21030000040100');
INSERT INTO "chunk" VALUES('i-2',498824,1,1795766420000000,1795767600000000,60,X'5B0000007B22696E7374616E636573223A5B22692D32225D2C2273747265616D73223A5B5B3131352C3131362C3131342C3130312C39372C3130392C33322C3131312C3130322C33322C3130352C34352C35302C34362C34362C34365D5D7D1800000070636F210300050F0401013B0000001000000000000000001800000070636F210300050F0401013B0000001000000000000000001800000070636F210300050F0401013B0000001000080000000000002400000070636F210300050F0401023B0000100101800000000000000040000100000000000000003700000070636F210300050F0401043B000001D012130000000010010180000000000000004000040000ECC2010000000000937A24656B000000003700000070636F210300050F0401023B00000124F400000000001001018000000000000000400004000000000000000000000100000000000000001800000070636F210300050F0401013B0000001000401F00000000004C00000070636F210300050F0401063B0000F31252020001FFFFFFFFFFFFFF47E0000000000000008000080000000000000000000000E07F0100000000002000000000000000F31905326F0140F607000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F21030000040100');
CREATE TABLE control (
    group_name TEXT NOT NULL PRIMARY KEY,
    mode TEXT NOT NULL,
    paused BIGINT NOT NULL,
    at_seconds BIGINT NOT NULL,
    said_by TEXT NOT NULL,
    reason TEXT NOT NULL
);
INSERT INTO "control" VALUES('web','observe',1,1795771800,'local','a night of our own');
CREATE TABLE decision (
    group_name TEXT NOT NULL,
    generation BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (group_name, generation)
);
INSERT INTO "decision" VALUES('web',1,1795771800,'{"format":1,"version":"0.1.0","policy":{"group":"web","mode":"observe","minimum":1,"maximum":9,"confidence":0.9,"targets":{"cpu":60.0},"weights":{},"bandwidth_bits":{},"launch_lead_seconds":300,"fresh_seconds":120,"warm_up_seconds":600,"shadow_window_seconds":3600,"valid_seconds":60,"minimum_trust":0.2,"launch_share":1.0,"reattach_lead_seconds":60,"late_cost_per_hour":10.0,"change_cost":0.0,"quiet_seconds":600,"silent_at_limit":"release","adopt":"none","shadow_by":"detach","hold_terminating":false,"launches_per_hour":200,"spend_per_hour":null},"memory":{"generation":0},"evidence":{"inventory":{"complete":true,"age_seconds":0,"instances":[{"id":"i-1","instance_type":null,"zone":null,"mode":"serving","since":1795771800,"protected":false,"shadow":null},{"id":"i-2","instance_type":null,"zone":null,"mode":"serving","since":1795771800,"protected":false,"shadow":null}],"expected":0},"metrics":{"cpu":{"demand":null,"age_seconds":0,"highest_lately":null,"baseline":{"points":0.0,"from_shadows":null,"shadows":0,"from_regression":null},"baseline_doubt":null,"forecast":null}},"conditions":{"started_seconds_ago":0,"paused":false,"deploying":false,"untold":false,"foreign_scale_in":false,"not_owner":false,"clock_jumped":false,"launches_failing":false,"agents_unauthenticated":true,"claimed":false,"common_cause":false,"changing":false,"detachable":1,"terminable":1,"launched_last_hour":0,"cost_per_hour":null,"price_per_hour":null}},"plan":{"group":"web","generation":1,"parent":null,"mode":"observe","made_at":1795771800,"valid_until":1795771860,"confidence":0.9,"serving":2,"warming":0,"needs":[{"metric":"cpu","demand":null,"baseline":0.0,"reactive":null,"ahead":null,"window":null,"without_baseline":null,"trust":0.0}],"binding":null,"need_now":null,"need_ahead":null,"steps":[],"not_taken":[{"direction":"scale_in","instances":0,"reason":"there is no evidence of present demand","holds":[{"hold":"UnauthenticatedEvidence"},{"hold":"WarmUp","seconds_left":600},{"hold":"NoEvidence","metric":"cpu"}]}],"holds":[{"hold":"UnauthenticatedEvidence"},{"hold":"WarmUp","seconds_left":600},{"hold":"NoEvidence","metric":"cpu"}]},"limits":{"warm_up_seconds":600,"inventory_fresh_seconds":120,"share_15_minutes":0.1,"share_6_hours":0.3,"fleet_share":0.02,"quiet_seconds":600,"sample_fresh_seconds":120,"common_cause_share":0.2},"fleet":{"groups":0,"groups_that_want_in":0,"other_groups_in":0,"machines":2,"removed_15_minutes":0},"last_week":{},"judged":[]}');
INSERT INTO "decision" VALUES('web',9993,1795780800,'{"format":1,"version":"0.1.0","policy":{"group":"web","mode":"observe","minimum":1,"maximum":9,"confidence":0.9,"targets":{"cpu":60.0},"weights":{},"bandwidth_bits":{},"launch_lead_seconds":300,"fresh_seconds":120,"warm_up_seconds":600,"shadow_window_seconds":3600,"valid_seconds":60,"minimum_trust":0.2,"launch_share":1.0,"reattach_lead_seconds":60,"late_cost_per_hour":10.0,"change_cost":0.0,"quiet_seconds":600,"silent_at_limit":"release","adopt":"none","shadow_by":"detach","hold_terminating":false,"launches_per_hour":200,"spend_per_hour":null},"memory":{"generation":9992},"evidence":{"inventory":{"complete":true,"age_seconds":0,"instances":[{"id":"i-1","instance_type":null,"zone":null,"mode":"serving","since":1795771800,"protected":false,"shadow":null},{"id":"i-2","instance_type":null,"zone":null,"mode":"serving","since":1795771800,"protected":false,"shadow":null}],"expected":0},"metrics":{"cpu":{"demand":null,"age_seconds":0,"highest_lately":null,"baseline":{"points":0.0,"from_shadows":null,"shadows":0,"from_regression":null},"baseline_doubt":null,"forecast":null}},"conditions":{"started_seconds_ago":0,"paused":true,"deploying":false,"untold":false,"foreign_scale_in":false,"not_owner":false,"clock_jumped":false,"launches_failing":false,"agents_unauthenticated":true,"claimed":false,"common_cause":false,"changing":false,"detachable":1,"terminable":1,"launched_last_hour":0,"cost_per_hour":null,"price_per_hour":null}},"plan":{"group":"web","generation":9993,"parent":9992,"mode":"observe","made_at":1795780800,"valid_until":1795780860,"confidence":0.9,"serving":2,"warming":0,"needs":[{"metric":"cpu","demand":null,"baseline":0.0,"reactive":null,"ahead":null,"window":null,"without_baseline":null,"trust":0.0}],"binding":null,"need_now":null,"need_ahead":null,"steps":[],"not_taken":[{"direction":"scale_in","instances":0,"reason":"there is no evidence of present demand","holds":[{"hold":"Paused"},{"hold":"UnauthenticatedEvidence"},{"hold":"WarmUp","seconds_left":600},{"hold":"NoEvidence","metric":"cpu"}]}],"holds":[{"hold":"Paused"},{"hold":"UnauthenticatedEvidence"},{"hold":"WarmUp","seconds_left":600},{"hold":"NoEvidence","metric":"cpu"}]},"limits":{"warm_up_seconds":600,"inventory_fresh_seconds":120,"share_15_minutes":0.1,"share_6_hours":0.3,"fleet_share":0.02,"quiet_seconds":600,"sample_fresh_seconds":120,"common_cause_share":0.2},"fleet":{"groups":0,"groups_that_want_in":0,"other_groups_in":0,"machines":2,"removed_15_minutes":0},"last_week":{},"judged":[]}');
CREATE TABLE event (
    event BIGINT NOT NULL PRIMARY KEY,
    every_group BIGINT NOT NULL,
    group_name TEXT,
    name TEXT NOT NULL,
    starts BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    ramp_seconds BIGINT NOT NULL,
    intensity DOUBLE PRECISION NOT NULL,
    repeat_rule TEXT NOT NULL,
    repeat_every BIGINT NOT NULL,
    time_zone TEXT,
    until BIGINT,
    entered_by TEXT NOT NULL,
    entered_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    deleted_by TEXT,
    deleted_at BIGINT,
    delete_reason TEXT,
    CHECK ((every_group = 0 AND group_name IS NOT NULL) OR (every_group = 1 AND group_name IS NULL))
);
INSERT INTO "event" VALUES(1,0,'web','sale',1827187200,1827273600,0,2.0,'none',0,NULL,NULL,'local',1795771800,'the yearly sale',NULL,NULL,NULL);
CREATE TABLE forward (
    name TEXT NOT NULL PRIMARY KEY,
    tick BIGINT NOT NULL
);
CREATE TABLE forward_minute (
    group_name TEXT NOT NULL,
    metric TEXT NOT NULL,
    start_seconds BIGINT NOT NULL,
    turn BIGINT NOT NULL,
    PRIMARY KEY (group_name, metric, start_seconds)
);
CREATE TABLE import (
    group_name TEXT NOT NULL,
    metric TEXT NOT NULL,
    source TEXT NOT NULL,
    from_seconds BIGINT NOT NULL,
    to_seconds BIGINT NOT NULL,
    minutes BIGINT NOT NULL,
    entered_by TEXT NOT NULL,
    entered_at BIGINT NOT NULL,
    PRIMARY KEY (group_name, metric, source, from_seconds)
);
INSERT INTO "import" VALUES('web','cpu','csv past.csv sha256 94e074bb6d1318e0',1795680000,1795681800,30,'local',1795771800);
CREATE TABLE instance_key (
    instance TEXT NOT NULL PRIMARY KEY,
    -- SHA-256 of the public key.
    key_hash BYTEA NOT NULL,
    enrolled_micros BIGINT NOT NULL,
    join_token TEXT NOT NULL,
    revoked_micros BIGINT
);
CREATE TABLE intent (
    token TEXT NOT NULL PRIMARY KEY,
    group_name TEXT NOT NULL,
    generation BIGINT NOT NULL,
    step BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    body TEXT NOT NULL,
    reason TEXT NOT NULL,
    written_at BIGINT NOT NULL,
    settled_at BIGINT,
    settled TEXT
, sent_at BIGINT);
INSERT INTO "intent" VALUES('00000000000000000000000000000001','web',1,0,1,'{"token":"00000000000000000000000000000001","group":"web","generation":1,"step":0,"epoch":1,"action":"launch","count":2,"size":4,"written_at":1795770000,"valid_until":1795770060}','need 4 ahead',1795770000,1795770002,'{"settled":"done","instances":["i-3","i-4"]}',1795770001);
INSERT INTO "intent" VALUES('00000000000000000000000000000002','web',2,0,1,'{"token":"00000000000000000000000000000002","group":"web","generation":2,"step":0,"epoch":1,"action":"detach","instances":["i-4"],"written_at":1795770060,"valid_until":1795770120}','need 4 ahead',1795770060,1795770062,'{"settled":"refused","why":["the plan is too old"],"by_cloud":false}',1795770061);
CREATE TABLE last_week_leave (
    group_name TEXT NOT NULL PRIMARY KEY,
    until_seconds BIGINT NOT NULL,
    at_seconds BIGINT NOT NULL,
    said_by TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE lead_time (
    instance TEXT NOT NULL,
    served_at BIGINT NOT NULL,
    group_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    seconds BIGINT NOT NULL,
    PRIMARY KEY (instance, served_at)
);
INSERT INTO "lead_time" VALUES('i-3',1795770120,'web','m5.large',95);
CREATE TABLE lease (
    shard BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    taken_at BIGINT NOT NULL
);
INSERT INTO "lease" VALUES(0,2,1795780800);
CREATE TABLE minute (
    group_name TEXT NOT NULL,
    metric TEXT NOT NULL,
    start_seconds BIGINT NOT NULL,
    gross_mean DOUBLE PRECISION NOT NULL,
    gross_maximum DOUBLE PRECISION NOT NULL,
    weight DOUBLE PRECISION NOT NULL,
    serving BIGINT NOT NULL,
    reporting BIGINT NOT NULL,
    lower_bound BIGINT NOT NULL,
    PRIMARY KEY (group_name, metric, start_seconds)
);
INSERT INTO "minute" VALUES('web','cpu',1795680000,80.0,80.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680060,82.0,82.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680120,84.0,84.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680180,86.0,86.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680240,88.0,88.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680300,90.0,90.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680360,92.0,92.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680420,94.0,94.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680480,96.0,96.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680540,98.0,98.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680600,100.0,100.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680660,102.0,102.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680720,104.0,104.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680780,106.0,106.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680840,108.0,108.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680900,110.0,110.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795680960,112.0,112.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681020,114.0,114.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681080,116.0,116.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681140,118.0,118.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681200,120.0,120.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681260,122.0,122.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681320,124.0,124.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681380,126.0,126.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681440,128.0,128.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681500,130.0,130.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681560,132.0,132.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681620,134.0,134.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681680,136.0,136.0,2.0,2,0,0);
INSERT INTO "minute" VALUES('web','cpu',1795681740,138.0,138.0,2.0,2,0,0);
CREATE TABLE placement (
    instance TEXT NOT NULL,
    since_micros BIGINT NOT NULL,
    group_name TEXT NOT NULL,
    mode TEXT NOT NULL,
    claimed BIGINT NOT NULL,
    PRIMARY KEY (instance, since_micros)
);
INSERT INTO "placement" VALUES('i-1',1795771800287648,'web','serving',0);
INSERT INTO "placement" VALUES('i-2',1795771800287648,'web','serving',0);
CREATE TABLE plan (
    group_name TEXT NOT NULL,
    generation BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (group_name, generation)
);
INSERT INTO "plan" VALUES('web',1,1795771800,'{"binding":null,"confidence":0.9,"generation":1,"group":"web","holds":[{"hold":"UnauthenticatedEvidence"},{"hold":"WarmUp","seconds_left":600},{"hold":"NoEvidence","metric":"cpu"}],"holds_in_words":["agents are not authenticated","started moments ago: no scale-in for another 600 s","no serving instance reports cpu; absent is not zero"],"made_at":1795771800,"mode":"observe","need_ahead":null,"need_now":null,"needs":[{"ahead":null,"baseline":0.0,"demand":null,"metric":"cpu","reactive":null,"trust":0.0,"window":null,"without_baseline":null}],"not_taken":[{"direction":"scale_in","holds":[{"hold":"UnauthenticatedEvidence"},{"hold":"WarmUp","seconds_left":600},{"hold":"NoEvidence","metric":"cpu"}],"instances":0,"reason":"there is no evidence of present demand"}],"parent":null,"serving":2,"simulated":false,"steps":[],"valid_until":1795771860,"verdicts":[],"warming":0}');
INSERT INTO "plan" VALUES('web',2,1795771810,'{"binding":null,"confidence":0.9,"generation":2,"group":"web","holds":[{"hold":"Paused"},{"hold":"UnauthenticatedEvidence"},{"hold":"WarmUp","seconds_left":590},{"hold":"NoEvidence","metric":"cpu"}],"holds_in_words":["paused by an operator","agents are not authenticated","started moments ago: no scale-in for another 590 s","no serving instance reports cpu; absent is not zero"],"made_at":1795771810,"mode":"observe","need_ahead":null,"need_now":null,"needs":[{"ahead":null,"baseline":0.0,"demand":null,"metric":"cpu","reactive":null,"trust":0.0,"window":null,"without_baseline":null}],"not_taken":[{"direction":"scale_in","holds":[{"hold":"Paused"},{"hold":"UnauthenticatedEvidence"},{"hold":"WarmUp","seconds_left":590},{"hold":"NoEvidence","metric":"cpu"}],"instances":0,"reason":"there is no evidence of present demand"}],"parent":1,"serving":2,"simulated":false,"steps":[],"valid_until":1795771870,"verdicts":[],"warming":0}');
INSERT INTO "plan" VALUES('web',9993,1795780800,'{"binding":null,"confidence":0.9,"generation":9993,"group":"web","holds":[{"hold":"Paused"},{"hold":"UnauthenticatedEvidence"},{"hold":"WarmUp","seconds_left":600},{"hold":"NoEvidence","metric":"cpu"}],"holds_in_words":["paused by an operator","agents are not authenticated","started moments ago: no scale-in for another 600 s","no serving instance reports cpu; absent is not zero"],"made_at":1795780800,"mode":"observe","need_ahead":null,"need_now":null,"needs":[{"ahead":null,"baseline":0.0,"demand":null,"metric":"cpu","reactive":null,"trust":0.0,"window":null,"without_baseline":null}],"not_taken":[{"direction":"scale_in","holds":[{"hold":"Paused"},{"hold":"UnauthenticatedEvidence"},{"hold":"WarmUp","seconds_left":600},{"hold":"NoEvidence","metric":"cpu"}],"instances":0,"reason":"there is no evidence of present demand"}],"parent":9992,"serving":2,"simulated":false,"steps":[],"valid_until":1795780860,"verdicts":[],"warming":0}');
CREATE TABLE reading (
    metric TEXT NOT NULL,
    of_group BIGINT NOT NULL,
    at_seconds BIGINT NOT NULL,
    subject TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (metric, of_group, at_seconds, subject)
);
CREATE TABLE retraction (
    instance TEXT NOT NULL,
    from_micros BIGINT NOT NULL,
    to_micros BIGINT NOT NULL,
    at_micros BIGINT NOT NULL,
    reason TEXT NOT NULL,
    -- 1 when the minutes that they had a part in were made anew.
    remade BIGINT NOT NULL,
    PRIMARY KEY (instance, from_micros, to_micros)
);
CREATE TABLE shadow_config (
    row_number BIGINT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);
CREATE TABLE shadow_session (
    session BIGINT NOT NULL PRIMARY KEY,
    instance TEXT NOT NULL,
    group_name TEXT NOT NULL,
    instance_type TEXT,
    origin TEXT NOT NULL,
    started BIGINT NOT NULL,
    until BIGINT NOT NULL,
    ended BIGINT,
    reason TEXT NOT NULL,
    price_per_hour DOUBLE PRECISION
, version TEXT, hard_limit BIGINT, boot_until BIGINT);
INSERT INTO "shadow_session" VALUES(1,'i-4','web','m5.large','foreign',1795770600,1795774200,1795774260,'somebody detached it',NULL,NULL,NULL,NULL);
CREATE TABLE store (
    id BYTEA NOT NULL PRIMARY KEY,
    created_micros BIGINT NOT NULL
);
INSERT INTO "store" VALUES(X'E4A258834399BC64D1EBB4F028083C43',1795771800241370);
CREATE TABLE stream (
    instance TEXT NOT NULL,
    stream BYTEA NOT NULL,
    boot_id TEXT NOT NULL,
    held BYTEA NOT NULL,
    dropped BIGINT NOT NULL,
    newest_micros BIGINT NOT NULL,
    PRIMARY KEY (instance, stream)
);
INSERT INTO "stream" VALUES('i-1',X'73747265616D206F6620692D312E2E2E','boot',X'01000000000000003C00000000000000',0,1795767600000000);
INSERT INTO "stream" VALUES('i-2',X'73747265616D206F6620692D322E2E2E','boot',X'01000000000000003C00000000000000',0,1795767600000000);
CREATE TABLE stream_rows (
    up_to BIGINT NOT NULL
);
INSERT INTO "stream_rows" VALUES(2);
CREATE TABLE tick (
    tick BIGINT NOT NULL PRIMARY KEY,
    written_micros BIGINT NOT NULL,
    first_micros BIGINT NOT NULL,
    last_micros BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    body BYTEA NOT NULL
);
INSERT INTO "tick" VALUES(3,1795780805217216,1795780801000000,1795780803000000,3,X'5B0000007B22696E7374616E636573223A5B22692D31225D2C2273747265616D73223A5B5B3131352C3131362C3131342C3130312C39372C3130392C33322C3131312C3130322C33322C3130352C34352C34392C34362C34362C34365D5D7D1700000070636F210300C1040101020000001000000000000000001700000070636F210300C1040101020000001000000000000000001700000070636F210300C1040101020000001000080000000000001C00000070636F210300C1040102020000001000E801000000000000100024002300000070636F210300C10401040200000010000092E765060A3300AC0000000048E801127A002300000070636F210300C1040102020000001000004A161D00000000A80000000048E801127A001700000070636F210300C1040101020000001000401F00000000002E00000070636F210300C104010602000000100000000000000074028E0100000000000000000000000001000000000004000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F21030000040100');
INSERT INTO "tick" VALUES(4,1795780805319144,1795780801000000,1795780803000000,3,X'5B0000007B22696E7374616E636573223A5B22692D32225D2C2273747265616D73223A5B5B3131352C3131362C3131342C3130312C39372C3130392C33322C3131312C3130322C33322C3130352C34352C35302C34362C34362C34365D5D7D1700000070636F210300C1040101020000001000000000000000001700000070636F210300C1040101020000001000000000000000001700000070636F210300C1040101020000001000080000000000001C00000070636F210300C1040102020000001000E801000000000000100024002300000070636F210300C10401040200000010000092E765060A3300AC0000000048E801127A002300000070636F210300C1040102020000001000004A161D00000000A80000000048E801127A001700000070636F210300C1040101020000001000401F00000000002E00000070636F210300C104010602000000100000000000000074028E0100000000000000000000000001000000000004000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F210300000401000A00000070636F21030000040100');
CREATE TABLE token (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    -- Argon2id in the PHC form; the token itself is nowhere.
    hash TEXT NOT NULL,
    created_micros BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_micros BIGINT,
    uses_left BIGINT,
    group_name TEXT,
    revoked_micros BIGINT
);
CREATE INDEX chunk_by_time ON chunk (last_micros);
CREATE INDEX intent_by_time ON intent (written_at);
CREATE INDEX decision_by_time ON decision (made_at);
CREATE INDEX reading_by_age ON reading (at_seconds);
COMMIT;
