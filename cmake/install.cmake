# What `make install` lays below the prefix: bin/brokkr, the names it answers to, and the engine in
# lib/brokkr. A libnode that was unpacked, not installed, goes along beside the engine.
set(brokkr_links nats-server nats nex)
set(engine_folder lib/brokkr)

foreach(link ${brokkr_links})
  list(APPEND link_commands
       COMMAND ${CMAKE_COMMAND} -E create_symlink brokkr $<TARGET_FILE_DIR:brokkr>/${link})
endforeach()
# A target of its own: a command after linking could only be added where brokkr is defined.
add_custom_target(brokkr_links ALL ${link_commands} DEPENDS brokkr VERBATIM)

install(TARGETS brokkr RUNTIME DESTINATION bin)
foreach(link ${brokkr_links})
  install(CODE "file(CREATE_LINK brokkr \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/bin/${link}\" SYMBOLIC)")
endforeach()

if(TARGET brokkr_engine_v8)
  install(TARGETS brokkr_engine_v8 LIBRARY DESTINATION ${engine_folder})
  if(LIBNODE_ROOT)
    set_target_properties(brokkr_engine_v8 PROPERTIES INSTALL_RPATH "$ORIGIN")
    get_filename_component(libnode_folder ${V8_LIBRARY} DIRECTORY)
    file(GLOB libnode ${libnode_folder}/libnode.so.[0-9]*)
    install(PROGRAMS ${libnode} DESTINATION ${engine_folder})
  endif()
endif()
