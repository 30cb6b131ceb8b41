"""The stack that the endpoint plays has what the template's has."""

from asyncbatch.emulator.stack import list_outputs, make_outputs


def test_all_outputs_of_the_template_are_there() -> None:
    outputs = make_outputs("RIOS", "us-east-1", bucket="bucket", in_queue="in", out_queue="out")
    assert list(outputs) == list_outputs()
    assert {"BatchBucket", "BatchInQueue", "BatchOutQueue", "BatchMaxJobs", "VPC"} <= outputs.keys()
    assert (outputs["BatchBucket"], outputs["BatchInQueue"], outputs["BatchOutQueue"]) == ("bucket", "in", "out")
