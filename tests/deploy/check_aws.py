"""What the CloudFormation template says where the local AWS does not follow it. `notice.rs` makes the stack there; it knows no
AWS::SQS::QueuePolicy, so who may write into the queue is read from the template itself."""

from product import Check, stack_template


def may_write(statements: list) -> list:
    """What is wrong with a queue's policy: allowed is EventBridge alone, one action, from this stack's rules."""
    found = []
    for statement in statements:
        if statement["Effect"] == "Deny":
            continue
        if statement["Principal"] != {"Service": "events.amazonaws.com"}:
            found.append(f"{statement['Principal']} may write")
        if statement["Action"] != "sqs:SendMessage":
            found.append(f"{statement['Action']} is more than writing")
        sources = statement.get("Condition", {}).get("ArnEquals", {}).get("aws:SourceArn")
        if sources != [{"GetAtt": "Moves.Arn"}, {"GetAtt": "Calls.Arn"}]:
            found.append(f"from {sources}")
    return found


class Stack(Check):
    def test_nobody_writes_into_the_queue_but_the_rules_of_the_stack(self):
        resources = stack_template()["Resources"]
        policies = [it["Properties"] for it in resources.values() if it["Type"] == "AWS::SQS::QueuePolicy"]
        self.assertEqual([policy["Queues"] for policy in policies], [[{"Ref": "Events"}]])
        statements = policies[0]["PolicyDocument"]["Statement"]
        self.assertTrue(all(statement["Resource"] == {"GetAtt": "Events.Arn"} for statement in statements))
        self.assertEqual([statement["Effect"] for statement in statements], ["Allow", "Deny"])
        self.assertEqual(may_write(statements), [])
        plain = statements[1]
        self.assertEqual((plain["Principal"], plain["Action"]), ("*", "sqs:*"))
        self.assertEqual(plain["Condition"], {"Bool": {"aws:SecureTransport": "false"}})
        # The rules are rules, and of this group alone; the check is one.
        for rule in ("Moves", "Calls"):
            self.assertEqual(resources[rule]["Type"], "AWS::Events::Rule")
            self.assertIn("{'Ref': 'GroupName'}", str(resources[rule]["Properties"]["EventPattern"]["detail"]))
        # A word that is missing or misspelt matches no event: who leaves is then found by describing alone.
        kinds = {rule: resources[rule]["Properties"]["EventPattern"]["detail-type"] for rule in ("Moves", "Calls")}
        self.assertEqual(kinds["Moves"], ["EC2 Instance Detach Successful", "EC2 Instance-terminate Lifecycle Action",
                                          "EC2 Instance Terminate Successful", "EC2 Instance Launch Successful"])
        self.assertEqual(kinds["Calls"], ["AWS API Call via CloudTrail"])
        for wrong in ({"Principal": "*"}, {"Action": "sqs:*"}, {"Condition": {}}):
            self.assertEqual(len(may_write([statements[0] | wrong])), 1, wrong)

    def test_the_role_may_what_its_mode_says_and_its_policies_are_its_alone(self):
        resources = stack_template()["Resources"]
        policies = {name: it for name, it in resources.items() if it["Type"] == "AWS::IAM::ManagedPolicy"}
        self.assertEqual({name: it.get("Condition") for name, it in policies.items()}, {"Observe": None, "Act": "Acts"})
        for policy in policies.values():
            attached = {key: policy["Properties"].get(key) for key in ("Roles", "Users", "Groups")}
            self.assertEqual(attached, {"Roles": [{"Ref": "Role"}], "Users": None, "Groups": None})
        self.assertEqual(set(resources["Role"]["Properties"]), {"AssumeRolePolicyDocument"}, "no policy beside these")
