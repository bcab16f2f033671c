from launcher import apt


def test_services_may_not_start_during_an_installation(tmp_path):
    policy = tmp_path / "policy-rc.d"
    with apt.no_service_starts(policy):
        assert policy.read_text().endswith("exit 101\n")
        assert policy.stat().st_mode & 0o111
    assert not policy.exists()


def test_an_existing_policy_is_restored(tmp_path):
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    policy.chmod(0o755)
    try:
        with apt.no_service_starts(policy):
            assert "exit 101" in policy.read_text()
            raise InterruptedError
    except InterruptedError:
        pass
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert policy.stat().st_mode & 0o777 == 0o755


def test_our_own_leftover_policy_is_removed(tmp_path):
    policy = tmp_path / "policy-rc.d"
    with apt.no_service_starts(policy), apt.no_service_starts(policy):
        pass
    assert not policy.exists()
