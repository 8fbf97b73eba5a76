"""JAX's flags: which are pinned, which recorded, and which are harmless."""

import concurrent.futures
import contextlib
import enum
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import jax

# The table. Each flag of JAX 0.10.2 and 0.11.2 is in one of the next three, by
# the strongest thing that it can do to a number of ours.

# What decides which numbers are drawn, or of which type they are: another kind
# of number under the same identity. Pinned to JAX's default.
PINNED: Mapping[str, Any] = {
  # From which seed which bits are drawn, and what is made of them.
  "jax_default_prng_impl": "threefry2x32",
  "jax_enable_custom_prng": False,
  "jax_high_dynamic_range_gumbel": False,
  "jax_random_seed_offset": 0,
  # Meant to be the same bits by another kernel, which was not tried.
  "jax_threefry_gpu_kernel_lowering": False,
  "jax_threefry_partitionable": True,
  # Whether float64 is to be had.
  "jax_enable_x64": False,
  "jax_explicit_x64_dtypes": "warn",
}

# What reaches no more than a number's rounding, and is the user's to choose,
# for speed or to get round a fault. Recorded when not at JAX's default.
RECORDED: Mapping[str, Any] = {
  # The precision of products. (A GPU's default is TF32.)
  "jax_default_matmul_precision": None,
  # Records say what the first device is; this may choose another.
  "jax_default_device": None,
  # How hard the compiler tries, and by which profile.
  "jax_compilation_cache_expect_pgle": False,
  "jax_compiler_enable_remat_pass": True,
  "jax_disable_jit": False,
  "jax_disable_most_optimizations": False,
  "jax_enable_pgle": False,
  "jax_exec_time_optimization_effort": 0.0,
  "jax_memory_fitting_effort": 0.0,
  "jax_memory_fitting_level": "O2",
  "jax_optimization_level": "UNKNOWN",
  "jax_pgle_aggregation_percentile": 90,
  "jax_pgle_profiling_runs": 3,
  "jax_use_shardy_partitioner": True,
  "jax_xla_profile_version": 0,
  # What the compiler is given to fuse: constants or arguments, and operations
  # that check others inside the program.
  "eager_constant_folding": False,
  "jax_embedded_constants_max_bytes": 32,
  "jax_error_checking_behavior_divide": "ignore",
  "jax_error_checking_behavior_nan": "ignore",
  "jax_error_checking_behavior_oob": "ignore",
  "jax_refs_to_pins": False,
  "jax_use_simplified_jaxpr_constants": False,
  # Upgrades on their way, other formulas for the same thing. Not pinned: what
  # is the default now may be gone in a later version.
  "jax_custom_jvp3": False,
  "jax_custom_vjp3": False,
  "jax_remat3": False,
  "jax_remat_barrier_no_cotangents": False,
  "jax_scan3": False,
  "jax_softmax_custom_jvp": False,
  "jax_use_direct_linearize": True,
  # Which kernel computes an operation.
  "jax_bcoo_cusparse_lowering": False,
  "jax_mosaic_allow_hlo": False,
  "jax_pallas_use_mosaic_gpu": True,
  "jax_ragged_dot_use_gpu_pallas_triton_lowering": False,
  "jax_ragged_dot_use_ragged_dot_instruction": True,
  "jax_use_emit_pipeline_primitive": False,
  "jax_use_hlo_logistic_lowering": None,
  "jax_use_magma": "auto",
  # Devices that are pretended to be there.
  "jax_mock_gpu_topology": "",
  "mock_num_gpu_processes": 0,
}

# What reaches no number.
HARMLESS = (
  # More is checked, and an error is no number. Strict promotion is one.
  "check_vma",
  "jax_allow_f16_reductions",
  "jax_array_garbage_collection_guard",
  "jax_auto_pcast",
  "jax_check_static_indices",
  "jax_check_tracer_leaks",
  "jax_debug_infs",
  "jax_debug_key_reuse",
  "jax_debug_leaked_clients_on_clear_backends",
  "jax_debug_nans",
  "jax_disable_bwd_checks",
  "jax_disable_vmap_shmap_error",
  "jax_disallow_mesh_context_manager",
  "jax_enable_checks",
  "jax_experimental_unsafe_xla_runtime_errors",
  "jax_legacy_prng_key",
  "jax_mutable_array_checks",
  "jax_no_execution",
  "jax_no_tracing",
  "jax_numpy_dtype_promotion",
  "jax_numpy_rank_promotion",
  "jax_pallas_enable_debug_checks",
  "jax_pallas_poison_buffers",
  "jax_raise_on_ppermute_sort_diff",
  "jax_remove_size_one_mesh_axis_from_type",
  "jax_thread_guard",
  "jax_transfer_guard",
  "jax_transfer_guard_device_to_device",
  "jax_transfer_guard_device_to_host",
  "jax_transfer_guard_host_to_device",
  # What is said, and dumped for people to read.
  "jax_captured_constants_report_frames",
  "jax_captured_constants_warn_bytes",
  "jax_compiler_detailed_logging_min_ops",
  "jax_debug_log_modules",
  "jax_distributed_debug",
  "jax_dump_ir_modes",
  "jax_dump_ir_to",
  "jax_explain_cache_misses",
  "jax_hlo_source_file_canonicalization_regex",
  "jax_include_debug_info_in_dumps",
  "jax_include_full_tracebacks_in_locations",
  "jax_log_checkpoint_residuals",
  "jax_log_compiles",
  "jax_logging_level",
  "jax_pallas_verbose_errors",
  "jax_pprint_use_color",
  "jax_send_traceback_to_runtime",
  "jax_source_url_schema",
  "jax_traceback_filtering",
  "jax_traceback_in_locations_limit",
  "jax_tracer_error_num_traceback_frames",
  # Where compiled programs are kept.
  "jax_compilation_cache_check_contents",
  "jax_compilation_cache_dir",
  "jax_compilation_cache_include_metadata_in_key",
  "jax_compilation_cache_max_size",
  "jax_enable_compilation_cache",
  "jax_persistent_cache_enable_xla_caches",
  "jax_persistent_cache_min_compile_time_secs",
  "jax_persistent_cache_min_entry_size_bytes",
  "jax_raise_persistent_cache_errors",
  "jax_remove_custom_partitioning_ptr_from_cache_key",
  # Which devices there are: which one computed is recorded by its kind.
  "jax_backend_target",
  "jax_cuda_visible_devices",
  "jax_num_cpu_devices",
  "jax_oneapi_visible_devices",
  "jax_platform_name",
  "jax_platforms",
  "jax_rocm_visible_devices",
  "jax_sort_devices_by_process_index",
  "jax_xla_backend",
  # How work and arrays get there. (JAX itself sets the client's options on a
  # TPU; they are of memory and names.)
  "jax_cpu_enable_async_dispatch",
  "jax_pjrt_client_create_options",
  "jax_use_cpp_shard_args",
  # Between processes and devices: a run has one process, whose devices do not
  # wait for each other.
  "jax_check_proxy_envs",
  "jax_cpu_collectives_implementation",
  "jax_cpu_get_global_topology_timeout_minutes",
  "jax_cpu_get_local_topology_timeout_minutes",
  "jax_cross_host_transfer_socket_address",
  "jax_cross_host_transfer_timeout_seconds",
  "jax_cross_host_transfer_transfer_size",
  "jax_cross_host_transport_addresses",
  "jax_distributed_verify_secure_credentials",
  "jax_enable_preemption_service",
  "jax_enable_recoverability",
  "jax_force_dcn_cross_host_transfers",
  "jax_mtls_ca_file",
  "jax_mtls_cert_file",
  "jax_mtls_key_file",
  "jax_mtls_peer_uri_prefix",
  "jax_pallas_auto_assign_collective_ids",
  "jax_pallas_auto_assign_collective_ids_limit",
  "jax_share_binary_between_hosts",
  "jax_share_binary_between_hosts_timeout_ms",
  "jax_use_rgv3",
  # Of exported programs, and of jax2tf's.
  "jax2tf_associative_scan_reductions",
  "jax2tf_default_native_serialization",
  "jax_export_calling_convention_version",
  "jax_export_deserialize_expired_versions",
  "jax_export_ignore_forward_compatibility",
  "jax_serialization_version",
)

# Variables of the environment that are no flag of JAX's and reach a number's
# rounding, recorded like RECORDED; and how the parts of them begin that do not.
ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
  "XLA_FLAGS": ("--xla_force_host_platform_device_count", "--xla_dump_"),
  # JAX itself adds this one.
  "LIBTPU_INIT_ARGS": ("--xla_tpu_use_enhanced_launch_barrier",),
  # oneDNN's, through XLA on a CPU; the second is its older name.
  "ONEDNN_DEFAULT_FPMATH_MODE": (),
  "DNNL_DEFAULT_FPMATH_MODE": (),
  "ONEDNN_MAX_CPU_ISA": (),
  "DNNL_MAX_CPU_ISA": (),
  # Of CUDA's libraries, and of XLA's use of cuDNN. XLA for CUDA reads no
  # TF_CUDNN_* any more.
  "NVIDIA_TF32_OVERRIDE": (),
  "CUBLAS_WORKSPACE_CONFIG": (),
  "TF_ENABLE_WINOGRAD_NONFUSED": (),
  "TF_FP16_CONV_USE_FP32_COMPUTE": (),
}

# JAX keeps no defaults. For flags of versions to come, which the table does not
# know: what they were when this module was read.
_AT_IMPORT = jax.config.values

# How many runs hold the pinned flags, and what these were outside of all.
_lock = threading.Lock()
_runs = 0
_outside: dict[str, Any] = {}


@contextlib.contextmanager
def pinned() -> Iterator[None]:
  """Holds every flag of PINNED at its value; a context manager or decorator.

  In all threads, since replicates run in threads of their own, where JAX's
  context managers do not reach. What such a manager around the call has set of
  RECORDED is set in all threads too: what is recorded is then true of every
  replicate. At the end, also by an error, all is as it was; of runs that
  overlap, the last to end puts the pinned flags back.

  Raises:
    ValueError: a context manager around the call sets a flag otherwise.
  """
  with contextlib.ExitStack() as stack:
    here, elsewhere = jax.config.values, _values_in_new_threads()
    for name in RECORDED:
      if name in here and here[name] != elsewhere[name]:
        stack.callback(jax.config.update, name, elsewhere[name])
        jax.config.update(name, here[name])
    stack.callback(_let_go)
    _hold()
    here = jax.config.values
    for name, value in PINNED.items():
      if name in here and not _same(here[name], value):
        raise ValueError(
          f"{name} is {_text(here[name])} in this thread, by a context manager "
          f"around the call; a run needs {_text(value)}: leave that `with` "
          "first"
        )
    yield


def recorded() -> dict[str, str]:
  """Returns what reaches a number's rounding and is not at its default.

  By name, flags of RECORDED as this thread has them, those that the table does
  not know, and variables of ENVIRONMENT; {} in a plain environment.
  """
  found = {}
  for name, value in jax.config.values.items():
    if name in RECORDED:
      plain = _same(value, RECORDED[name])
    elif name in PINNED or name in HARMLESS:
      plain = True
    else:
      plain = name.upper() not in os.environ and _same(
        value, _AT_IMPORT.get(name, value)
      )
    if not plain:
      found[name] = _text(value)
  for name, harmless in ENVIRONMENT.items():
    parts = os.environ.get(name, "").split()
    if kept := [p for p in parts if not p.startswith(harmless)]:
      found[name] = " ".join(kept)
  return dict(sorted(found.items()))


def _hold() -> None:
  global _runs
  with _lock:
    _runs += 1
    if _runs == 1:
      there = _values_in_new_threads()
      # A version of JAX may lack some.
      _outside.update({n: there[n] for n in PINNED if n in there})
    for name in _outside:
      jax.config.update(name, PINNED[name])


def _let_go() -> None:
  global _runs
  with _lock:
    _runs -= 1
    if not _runs:
      for name, value in _outside.items():
        jax.config.update(name, value)
      _outside.clear()


def _values_in_new_threads() -> dict[str, Any]:
  """All flags, without what context managers have set in this thread."""
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    return pool.submit(lambda: jax.config.values).result()


def _same(one: Any, other: Any) -> bool:
  return one == other or _text(one) == _text(other)


def _text(value: Any) -> str:
  if isinstance(value, enum.Enum):
    return value.name.lower()
  # A device's number says nothing of its rounding.
  return str(getattr(value, "device_kind", value))
