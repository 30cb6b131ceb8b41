"""Test that the endpoint's stack has the outputs of the template."""

from asyncbatch.emulator.stack import list_outputs, make_outputs


def test_stack_has_all_outputs_of_the_template() -> None:
    outputs = make_outputs("RIOS", "us-east-1", bucket="bucket", in_queue="in", out_queue="out")
    assert list(outputs) == list_outputs()
    assert {"BatchBucket", "BatchInQueue", "BatchOutQueue", "BatchMaxJobs", "VPC"} <= outputs.keys()
    assert (outputs["BatchBucket"], outputs["BatchInQueue"], outputs["BatchOutQueue"]) == ("bucket", "in", "out")
