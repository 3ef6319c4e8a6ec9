# Starts the service in a virtual machine that has no network, and asks the model.
{
  pkgs,
  nixosModule,
}:
pkgs.testers.runNixOSTest {
  name = "concierge";

  nodes.machine = {
    imports = [ nixosModule ];
    # The store holds the model before the machine starts; the machine itself reaches nothing.
    virtualisation.memorySize = 3072;
    virtualisation.cores = 2;
    services.concierge.enable = true;
    environment.systemPackages = [ pkgs.curl ];
    users.users.ada = {
      isNormalUser = true;
      extraGroups = [ "concierge" ];
    };
  };

  testScript = ''
    import json

    machine.wait_for_unit("concierge.service")

    with subtest("started means that it answers"):
        machine.succeed("systemctl is-active concierge-llm.service")
        machine.succeed("curl --fail --silent http://127.0.0.1:8787/health")

    with subtest("the model answers"):
        key = machine.succeed("cat /run/concierge-llm/key").strip()
        request = json.dumps({
            "model": "smollm2-135m",
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "max_tokens": 32,
            "temperature": 0,
        })
        answer = json.loads(machine.succeed(
            f"curl --fail --silent -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' "
            f"--data '{request}' http://127.0.0.1:11435/v1/chat/completions"
        ))
        assert "Paris" in answer["choices"][0]["message"]["content"], answer

    with subtest("a task is done through the API"):
        token = machine.succeed("cat /run/concierge/token").strip()
        task = json.dumps({"task": "What is the capital of France?"})
        run = json.loads(machine.succeed(
            f"curl --fail --silent -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' "
            f"--data '{task}' 'http://127.0.0.1:8787/runs?wait=true'"
        ))
        assert run["status"] == "done", run

    with subtest("a member of the group has the LLM without any setting"):
        machine.succeed("su - ada -c \"concierge run 'What is the capital of France?'\"")

    with subtest("strangers are refused"):
        machine.fail("curl --fail --silent http://127.0.0.1:11435/props")
        machine.fail("curl --fail --silent http://127.0.0.1:8787/runs")
        machine.fail("runuser -u nobody -- cat /run/concierge-llm/key")
        machine.fail("runuser -u nobody -- cat /run/concierge/token")

    with subtest("a crash is mended, and the key stays"):
        machine.succeed("systemctl kill --signal=SIGKILL concierge-llm.service")
        machine.wait_until_succeeds(
            f"curl --fail --silent -H 'Authorization: Bearer {key}' http://127.0.0.1:11435/props"
        )
  '';
}
