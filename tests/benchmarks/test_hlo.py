from benchmarks import hlo

TEXT = """HloModule step

%buffer (p.0: f32[64,32], p.1: bf16[32]) -> (f32[64,32], pred[64,32]) {
  %p.0 = f32[64,32]{1,0} parameter(0)
  %p.1 = bf16[32]{0} parameter(1)
  %both = (f32[64,32]{1,0}, pred[64,32]{1,0}) fusion(%p.0, %p.1), calls=%f
  %first = f32[64,32]{1,0} get-tuple-element(%both), index=0
  ROOT %copy = f32[64,32]{1,0} copy(%first)
}

ENTRY %main (x: f32[64,32], row: bf16[32]) -> f32[64,32] {
  %x = f32[64,32]{1,0} parameter(0)
  %row = bf16[32]{0} parameter(1)
  %flat = f32[2048]{0} bitcast(%x)
  %call = f32[64,32]{1,0} call(%x, %row), to_apply=%buffer
  ROOT %all = f32[64,32]{1,0} all-gather(%call), dimensions={0}
}
"""


def test_operands_and_results_of_kernels_count_through_calls():
    array, row, mask = 64 * 32 * 4, 32 * 2, 64 * 32
    program = hlo.read(TEXT)
    assert program.kernels == 3
    assert program.collectives == ["all-gather"]
    fusion = array + row + array + mask
    assert program.moved == fusion + 2 * array + 2 * array
