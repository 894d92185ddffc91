# room(NAME SRCS… [DEPS rooms…] [LIBS external targets…] [TESTS…] [BENCHES…] [FUZZ…])
#
# One folder under src/ is one room is one static library. DEPS names the only
# rooms whose headers this room may include; tools/tidy.py checks the includes
# against the graph written by write_room_graph(). LIBS are third parties, linked
# PRIVATE so that their headers stay out of ours. TEST_LIBS are what the room's
# tests use besides; a room named there may be included by them only. FUZZ names x_fuzz.cc files: each
# becomes a libFuzzer target under BROKKR_BUILD_FUZZERS and, always, a unit test
# that replays the corpus in fuzz_corpus/<x>/ beside it.
function(room name)
  cmake_parse_arguments(R "" "" "SRCS;DEPS;LIBS;TESTS;TEST_LIBS;BENCHES;FUZZ" ${ARGN})
  if(R_SRCS)
    add_library(${name} STATIC ${R_SRCS})
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
    target_link_libraries(${name} PUBLIC ${R_DEPS} PRIVATE ${R_LIBS} warnings)
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${PROJECT_SOURCE_DIR}/src)
    target_link_libraries(${name} INTERFACE ${R_DEPS})
  endif()
  # Joined with blanks: a semicolon would split the line when the graph is read back as a list.
  list(JOIN R_DEPS " " deps_text)
  list(JOIN R_TEST_LIBS " " test_libs_text)
  set_property(GLOBAL APPEND PROPERTY ROOM_GRAPH "${name}: ${deps_text} | ${test_libs_text}")

  if(NOT TARGET unit_tests)
    add_custom_target(unit_tests)  # every unit test program, nothing else
  endif()
  # A preset can narrow the tests to some rooms (tsan: those with threads).
  if(BROKKR_TEST_ROOMS AND NOT name IN_LIST BROKKR_TEST_ROOMS)
    set(R_TESTS "")
    set(R_FUZZ "")
  endif()
  if(BROKKR_BUILD_TESTS AND R_TESTS)
    find_package(GTest REQUIRED)
    if(NOT TARGET test_pch)
      # One precompiled header for every test binary: gtest costs 1.3 CPU-s a file.
      add_library(test_pch OBJECT ${PROJECT_SOURCE_DIR}/cmake/test_pch.cc)
      target_precompile_headers(test_pch PRIVATE <gtest/gtest.h> <string> <string_view> <vector>)
      target_link_libraries(test_pch PUBLIC GTest::gtest)
      # Executables are compiled with -fPIE, object libraries with -fPIC; a PCH must match.
      set_target_properties(test_pch PROPERTIES POSITION_INDEPENDENT_CODE OFF)
      target_compile_options(test_pch PRIVATE -fPIE)
    endif()
    add_executable(${name}_test ${R_TESTS})
    set_target_properties(${name}_test PROPERTIES UNITY_BUILD OFF)
    target_link_libraries(${name}_test PRIVATE ${name} ${R_TEST_LIBS} GTest::gtest_main warnings)
    target_precompile_headers(${name}_test REUSE_FROM test_pch)
    include(GoogleTest)
    add_dependencies(unit_tests ${name}_test)
    gtest_discover_tests(${name}_test PROPERTIES LABELS unit TIMEOUT 60 DISCOVERY_MODE PRE_TEST)
  endif()
  foreach(file ${R_FUZZ})
    get_filename_component(fuzz ${file} NAME_WE)
    string(REPLACE "_fuzz" "" subject_name ${fuzz})
    if(BROKKR_BUILD_FUZZERS)
      add_executable(${fuzz} ${file})
      target_compile_options(${fuzz} PRIVATE -fsanitize=fuzzer)
      target_link_options(${fuzz} PRIVATE -fsanitize=fuzzer)
      target_link_libraries(${fuzz} PRIVATE ${name} warnings)
    elseif(BROKKR_BUILD_TESTS)
      add_executable(${fuzz}_replay ${file} ${PROJECT_SOURCE_DIR}/tests/support/fuzz_replay.cc)
      target_link_libraries(${fuzz}_replay PRIVATE ${name} warnings)
      add_dependencies(unit_tests ${fuzz}_replay)
      add_test(NAME ${fuzz}_replay COMMAND ${fuzz}_replay
               ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_corpus/${subject_name})
      set_tests_properties(${fuzz}_replay PROPERTIES LABELS unit TIMEOUT 60)
    endif()
  endforeach()
  if(BROKKR_BUILD_BENCHES AND R_BENCHES)
    find_package(benchmark REQUIRED)
    add_executable(${name}_bench ${R_BENCHES})
    target_link_libraries(${name}_bench PRIVATE ${name} benchmark::benchmark_main warnings)
  endif()
endfunction()

function(write_room_graph)
  get_property(graph GLOBAL PROPERTY ROOM_GRAPH)
  list(JOIN graph "\n" text)
  file(WRITE ${PROJECT_BINARY_DIR}/rooms.txt "${text}\n")
endfunction()
